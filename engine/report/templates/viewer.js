"use strict";
// The viewer: the attention of a head between the words of a sample, at two training sizes side by side.
(() => {
  const { levels, groups, first } = JSON.parse(document.getElementById("viewer-index").textContent);
  if (!groups.length) return;
  const at = (name) => document.getElementById(`view-${name}`);
  const selects = Object.fromEntries(["group", "sample", "layer", "head", "size"].map((name) => [name, at(name)]));
  const sides = ["left", "right"].map((side) => ({ canvas: at(side), title: at(`${side}-title`) }));
  // From zero to the maximum; the lightness alone shows the order.
  const RAMPS = {
    light: [[247, 249, 252], [184, 208, 232], [92, 149, 200], [22, 90, 155], [8, 40, 84]],
    dark: [[27, 32, 38], [52, 78, 104], [84, 134, 170], [156, 196, 208], [255, 243, 196]],
  };
  const INKS = { light: ["#1c2127", "#0b5cad"], dark: ["#e8eaed", "#7db7f2"] };
  let maps = null;
  let pointed = null;

  const fill = (select, options, wanted) => {
    const before = wanted ?? select.value;
    select.replaceChildren(...options.map(([value, text]) => new Option(text, value)));
    if (options.some(([value]) => String(value) === String(before))) select.value = String(before);
  };
  const group = () => groups[selects.group.value];
  const elsewhere = (before, own = group()) => (own.trained_on ? `${before}${own.trained_on}` : "");
  const sample = () => group().samples[selects.sample.value];
  const cut = (text, length) => (text.length > length ? `${text.slice(0, length - 1)}…` : text);

  const offer = () => {
    const { samples, layers, heads, sizes } = group();
    fill(selects.sample, samples.map((own, place) => [place, `${cut(own.sample_id, 24)}: ${cut(own.words.join(" "), 40)}`]));
    fill(selects.layer, layers.map((layer) => [layer, layer]));
    fill(selects.head, Array.from({ length: heads }, (_, head) => [head, head]));
    fill(selects.size, sizes.length > 1 ? sizes.slice(1).map((size) => [size, `${size} %`]) : [["", "nothing: one training size"]]);
    selects.size.disabled = sizes.length < 2;
  };

  const load = async () => {
    const wanted = sample().maps;
    const bytes = await biocache.unpack(wanted);
    if (sample().maps === wanted) maps = bytes;
  };

  // The values of one head's map, row by row.
  const matrix = (size) => {
    const { sizes, layers, heads } = group();
    const words = sample().words.length;
    const length = words * (words + 1);
    const place = (sizes.indexOf(size) * layers.length + layers.indexOf(Number(selects.layer.value))) * heads + Number(selects.head.value);
    return maps.subarray(place * length, (place + 1) * length);
  };
  const shownSizes = () => {
    const { sizes } = group();
    return sizes.length > 1 ? [sizes[0], Number(selects.size.value)] : [sizes[0]];
  };

  const color = (share) => {
    const ramp = RAMPS[biocache.theme()];
    const place = Math.min(Math.max(share, 0), 1) * (ramp.length - 1);
    const low = Math.min(Math.floor(place), ramp.length - 2);
    return `rgb(${ramp[low].map((value, channel) => Math.round(value + (place - low) * (ramp[low + 1][channel] - value))).join(",")})`;
  };

  const columns = () => [...sample().words, "[special]"];

  const paint = (side, steps, most) => {
    const { canvas } = side;
    const words = sample().words;
    const [ink, accent] = INKS[biocache.theme()];
    const width = canvas.parentElement.clientWidth;
    if (!width) return;
    const context = canvas.getContext("2d");
    const size = width < 360 || words.length > 24 ? 10 : 12;
    const font = `${size}px system-ui, sans-serif`;
    context.font = font;
    const room = Math.min(width * 0.28, Math.max(...columns().map((word) => context.measureText(cut(word, 16)).width)) + 8);
    const step = (width - room) / (words.length + 1);
    const row = Math.min(Math.max(step, 9), 30);
    const height = room + row * words.length;
    // Fine enough for paper.
    const ratio = Math.max(devicePixelRatio || 1, 2);
    canvas.width = Math.round(width * ratio);
    canvas.height = Math.round(height * ratio);
    canvas.style.height = `${height}px`;
    context.scale(ratio, ratio);
    context.font = font;
    context.textBaseline = "middle";
    side.geometry = { room, step, row };
    words.forEach((_, query) => columns().forEach((_, key) => {
      context.fillStyle = color(steps[query * (words.length + 1) + key] / most);
      context.fillRect(room + key * step, room + query * row, Math.max(step - 0.5, 0.5), row - 0.5);
    }));
    // Labels that would overlap are dropped; the words above the maps and the tooltip show all.
    const every = (space) => Math.ceil((size + 1) / space);
    const label = (place, space) => place % every(space) === 0;
    context.fillStyle = ink;
    context.textAlign = "right";
    words.forEach((word, place) => {
      if (label(place, row)) context.fillText(fitting(context, word, room - 6), room - 5, room + (place + 0.5) * row);
    });
    context.textAlign = "left";
    columns().forEach((word, place) => {
      if (!label(place, step)) return;
      context.save();
      context.translate(room + (place + 0.5) * step, room - 5);
      context.rotate(-Math.PI / 2);
      context.fillText(fitting(context, word, room - 6), 0, 0);
      context.restore();
    });
    if (pointed) {
      context.strokeStyle = accent;
      context.lineWidth = 2;
      context.strokeRect(room + pointed.key * step, room + pointed.query * row, step, row);
    }
  };
  const fitting = (context, word, width) => {
    let text = cut(word, 16);
    while (text.length > 2 && context.measureText(text).width > width) text = cut(text, text.length - 1);
    return text;
  };

  const sentence = () => {
    const { words, labels, label, segments } = sample();
    const parts = [];
    words.forEach((word, place) => {
      if (group().view === "pair" && (place === 0 || segments[place] !== segments[place - 1])) {
        parts.push(element("span", "text", segments[place] ? "hypothesis:" : "premise:"));
      }
      const own = element("span", "word", word);
      own.dataset.place = place;
      if (labels && labels[place] !== "O") {
        own.classList.add("labelled");
        own.append(element("span", "tag", labels[place]));
      }
      parts.push(own, " ");
    });
    if (label !== null) parts.push(element("span", "text", "label:"), labelled(label));
    at("words").replaceChildren(...parts);
  };
  const labelled = (text) => {
    const own = element("span", "word labelled", text);
    own.id = "view-label";
    return own;
  };
  const element = (name, kind, text) => {
    const made = document.createElement(name);
    made.className = kind;
    made.textContent = text;
    return made;
  };

  const readout = (shown) => {
    const words = sample().words;
    at("words").querySelectorAll(".word[data-place]").forEach((word) => {
      word.classList.toggle("at", Boolean(pointed) && [pointed.query, pointed.key].includes(Number(word.dataset.place)));
    });
    if (!pointed) {
      at("readout").textContent = "\u00a0";
      return;
    }
    const values = shown.map((steps) => steps[pointed.query * (words.length + 1) + pointed.key] / levels);
    const change = values.length > 1 ? `, change ${values[1] < values[0] ? "−" : "+"}${Math.abs(values[1] - values[0]).toFixed(3)}` : "";
    const said = values.map((value, place) => `${value.toFixed(3)} at ${shownSizes()[place]} %`).join(", ");
    at("readout").textContent = `“${words[pointed.query]}” to “${columns()[pointed.key]}”: ${said}${change}`;
  };

  const show = () => {
    if (maps) draw(shownSizes().map(matrix));
  };
  const draw = (shown) => {
    const sizes = shownSizes();
    const most = Math.max(1, ...shown.map((steps) => steps.reduce((a, b) => Math.max(a, b), 0)));
    at("right-figure").hidden = sizes.length < 2;
    sizes.forEach((size, place) => {
      const side = sides[place];
      side.title.textContent = `${group().model} at ${size} %${size === 0 ? `, ${group().origin}` : elsewhere(" of ")}`;
      side.canvas.setAttribute("aria-label", `Attention of layer ${selects.layer.value}, head ${selects.head.value} at training size ${size} %; arrow keys read its cells`);
      paint(side, shown[place], most);
    });
    const ramp = RAMPS[biocache.theme()].map((part) => `rgb(${part.join(",")})`);
    at("scale").querySelector(".ramp").style.background = `linear-gradient(to right, ${ramp.join(", ")})`;
    at("scale").querySelector(".high").textContent = (most / levels).toFixed(2);
    readout(shown);
    at("python").textContent = python();
    if (maps) document.getElementById("viewer").dataset.shown = Object.values(selects).map((select) => select.value).join(" ");
  };

  const python = () => {
    const own = group();
    const size = shownSizes().at(-1);
    const seed = own.seeds[own.sizes.indexOf(size)];
    const parts = { task: own.task, dataset: own.dataset, model: own.model, trained_on: size ? own.trained_on : "", training_size: size, seed, view: own.view, split: "test" };
    if (!own.trained_on) delete parts.trained_on;
    const selection = Object.entries(parts).map(([name, value]) => `${name}=${JSON.stringify(value)}`).join(", ");
    return [
      "from biocache.store import Store",
      "",
      `store = Store.open(${JSON.stringify(own.store)})`,
      `run = store.run(${selection})`,
      `maps = run.attention_map(${sample().position})  # between tokens, (layer, head, query, key)`,
      `print(maps.sel(layer=${selects.layer.value}, head=${selects.head.value}))`,
    ].join("\n");
  };

  const table = () => {
    const sizes = shownSizes();
    const shown = sizes.map(matrix);
    const words = sample().words;
    const rows = words.flatMap((word, query) => columns().map((other, key) => [
      query, word, key < words.length ? key : null, other,
      ...shown.map((steps) => Number((steps[query * (words.length + 1) + key] / levels).toFixed(4))),
    ]));
    return { columns: ["query", "query_word", "key", "key_word", ...sizes.map((size) => `attention_${size}`)], rows };
  };

  const refresh = async () => {
    pointed = null;
    sentence();
    await load();
    show();
  };

  selects.group.addEventListener("change", () => { offer(); refresh(); });
  selects.sample.addEventListener("change", refresh);
  for (const name of ["layer", "head", "size"]) selects[name].addEventListener("change", show);
  at("csv").addEventListener("click", () => {
    const { task, dataset, model, trained_on: other, view } = group();
    const name = [task, dataset, model, ...(other ? [`trained-on-${other.replace("/", "-")}`] : []), view, `sample-${sample().position}`, `layer-${selects.layer.value}`, `head-${selects.head.value}`];
    biocache.download(`${name.join("-")}.csv`, biocache.csv(table()));
  });
  for (const { canvas } of sides) {
    const point = (event) => {
      const side = sides.find((own) => own.canvas === canvas);
      const box = canvas.getBoundingClientRect();
      const { room, step, row } = side.geometry;
      const words = sample().words.length;
      const key = Math.floor((event.clientX - box.left - room) / step);
      const query = Math.floor((event.clientY - box.top - room) / row);
      pointed = key >= 0 && key <= words && query >= 0 && query < words ? { query, key } : null;
      show();
    };
    canvas.addEventListener("pointermove", point);
    canvas.addEventListener("pointerdown", point);
    canvas.addEventListener("keydown", (event) => {
      const moves = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] };
      if (!(event.key in moves)) return;
      event.preventDefault();
      const words = sample().words.length;
      const [down, across] = moves[event.key];
      const before = pointed ?? { query: 0, key: -across };
      const held = (value, most) => Math.min(Math.max(value, 0), most);
      pointed = { query: held(before.query + (pointed ? down : 0), words - 1), key: held(before.key + across, words) };
      show();
    });
  }
  document.querySelectorAll("button.show").forEach((button) => button.addEventListener("click", async () => {
    const { group: place, size, layer, head } = button.dataset;
    selects.group.value = place;
    offer();
    selects.size.value = size;
    selects.layer.value = layer;
    selects.head.value = head;
    await refresh();
    document.getElementById("viewer").scrollIntoView();
  }));
  biocache.onTheme(show);
  new ResizeObserver(show).observe(document.querySelector(".maps"));
  fill(selects.group, groups.map((own, place) => [place, `${own.task}, ${own.dataset}, ${own.model}${elsewhere(" trained on ", own)}, ${own.view}${groups.some((other) => other !== own && ["task", "dataset", "model", "trained_on", "view"].every((part) => other[part] === own[part])) ? `, seed ${own.seed}` : ""}`]));
  offer();
  // At once, so that a page that is printed when it has loaded is whole; the packed maps come later.
  sentence();
  draw(first);
  refresh();
})();
