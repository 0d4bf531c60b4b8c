"use strict";
// Shared by the whole page: packed data, files, tables, light and dark theme.
const biocache = (() => {
  // Data is embedded as gzip in base64: small and free of markup.
  const unpack = async (name) => {
    const text = document.getElementById(name).textContent.trim();
    const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
    return new Uint8Array(await new Response(stream).arrayBuffer());
  };
  const unpackJson = async (name) => JSON.parse(new TextDecoder().decode(await unpack(name)));

  const FORMULA = /^(?:[\s'"]*[=+\-@\uff1d\uff0b\uff0d\uff20]|[\t\r\n])/;

  // RFC 4180: quote cells with commas, quotes or line ends; double the quotes.
  const cell = (value) => {
    if (value === null || value === undefined) return "";
    // Formulas become text for spreadsheets, as in the CSV files of the commands.
    const text = typeof value === "string" && FORMULA.test(value) ? `'${value}` : String(value);
    return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
  };
  const csv = ({ columns, rows }) => [columns, ...rows].map((row) => row.map(cell).join(",") + "\r\n").join("");
  const download = (name, text) => {
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([text], { type: "text/csv;charset=utf-8" }));
    link.download = name;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 10000);
  };

  const dark = matchMedia("(prefers-color-scheme: dark)");
  const printing = matchMedia("print");
  const listeners = [];
  let chosen = null;
  const theme = () => (printing.matches || paper ? "light" : (chosen ?? (dark.matches ? "dark" : "light")));
  let paper = false;
  const tell = () => listeners.forEach((listener) => listener(theme()));
  const onTheme = (listener) => listeners.push(listener);
  dark.addEventListener("change", tell);
  // Always print in the light theme.
  printing.addEventListener("change", tell);
  addEventListener("beforeprint", () => { paper = true; tell(); });
  addEventListener("afterprint", () => { paper = false; tell(); });
  document.getElementById("theme").addEventListener("click", () => {
    chosen = theme() === "dark" ? "light" : "dark";
    document.documentElement.dataset.theme = chosen;
    tell();
  });

  const sort = (heading) => {
    const row = heading.parentElement;
    const place = [...row.children].indexOf(heading);
    const body = heading.closest("table").tBodies[0];
    const down = heading.getAttribute("aria-sort") === "ascending";
    const value = (line) => line.children[place].dataset.sort ?? line.children[place].textContent.trim();
    const order = (a, b) => {
      const [x, y] = [value(a), value(b)];
      const numbers = [Number(x), Number(y)];
      const both = x !== "" && y !== "" && numbers.every(Number.isFinite);
      return both ? numbers[0] - numbers[1] : x.localeCompare(y);
    };
    const lines = [...body.rows].sort(order);
    body.append(...(down ? lines.reverse() : lines));
    [...row.children].forEach((other) => other.removeAttribute("aria-sort"));
    heading.setAttribute("aria-sort", down ? "descending" : "ascending");
  };
  document.querySelectorAll("table.sortable th button").forEach((button) =>
    button.addEventListener("click", () => sort(button.parentElement)));

  document.querySelectorAll(".copy").forEach((button) =>
    button.addEventListener("click", async () => {
      const code = button.parentElement.querySelector("code");
      let done = "Copied";
      try {
        await navigator.clipboard.writeText(code.textContent);
      } catch {
        // A local file may not write to the clipboard: select the text instead.
        getSelection().selectAllChildren(code);
        done = document.execCommand("copy") ? "Copied" : "Marked";
      }
      button.textContent = done;
      setTimeout(() => { button.textContent = "Copy"; }, 1500);
    }));

  return { unpack, unpackJson, csv, download, theme, onTheme };
})();
