"use strict";
// The figures: plots drawn by Bokeh from packed data, one variant of a figure at a time.
(() => {
  const INKS = { light: { ink: "#1c2127", soft: "#59626e", rule: "#dfe3e8" }, dark: { ink: "#e8eaed", soft: "#a5adb8", rule: "#343a42" } };

  const dress = (doc, theme) => {
    const { soft, rule } = INKS[theme];
    for (const root of doc.roots()) {
      for (const model of root.references()) {
        if (model.type === "LinearAxis") {
          model.setv({ axis_label_text_color: soft, major_label_text_color: soft, axis_line_color: rule, major_tick_line_color: rule });
        } else if (model.type === "Grid") {
          model.setv({ grid_line_color: rule });
        }
      }
    }
  };

  const draw = async (figure, place) => {
    const variant = await biocache.unpackJson(`${figure.id}-variant-${place}`);
    const panels = figure.querySelector(".panels");
    const paper = figure.querySelector(".paper");
    (figure.drawn ?? []).forEach((manager) => manager.clear());
    panels.replaceChildren();
    // The page comes with the pictures of the first variant.
    if (figure.dataset.drawn) paper.replaceChildren(...variant.panels.map(picture));
    figure.drawn = [];
    for (const [position, { title, item, width }] of variant.panels.entries()) {
      const panel = document.createElement("div");
      const heading = document.createElement("h4");
      const plot = document.createElement("div");
      panel.className = "panel";
      if (width !== null) panel.style.maxWidth = `${width}px`;
      heading.textContent = title;
      plot.className = "plot";
      plot.id = `${figure.id}-plot-${position}`;
      plot.setAttribute("role", "img");
      plot.setAttribute("aria-label", `${figure.querySelector("h3").textContent}, ${title}; the CSV has its numbers`);
      panel.append(heading, plot);
      panels.append(panel);
      const manager = await Bokeh.embed.embed_item(item, plot.id);
      figure.drawn.push(manager);
      for (const view of manager) dress(view.model.document, biocache.theme());
    }
    scale(figure.querySelector(".scale"), variant.scale);
    figure.dataset.drawn = String(place);
  };

  const picture = ({ title, paper }) => {
    const panel = document.createElement("div");
    const heading = document.createElement("h4");
    panel.className = "panel";
    heading.textContent = title;
    panel.innerHTML = paper;
    panel.prepend(heading);
    return panel;
  };

  const scale = (element, own) => {
    element.hidden = own === null;
    if (own === null) return;
    element.querySelector(".low").textContent = own.low.toFixed(2);
    element.querySelector(".high").textContent = own.high.toFixed(2);
    element.querySelector(".what").textContent = own.title;
    element.querySelector(".ramp").style.background = `linear-gradient(to right, ${own.colors.join(", ")})`;
  };

  const figures = [...document.querySelectorAll(".figure")];
  for (const figure of figures) {
    figure.querySelector(".csv").addEventListener("click", async () => {
      biocache.download(`${figure.id}.csv`, biocache.csv(await biocache.unpackJson(`${figure.id}-data`)));
    });
    figure.querySelector(".switch")?.addEventListener("change", (event) => draw(figure, event.target.value));
  }
  biocache.onTheme((theme) => {
    for (const figure of figures) {
      for (const manager of figure.drawn ?? []) for (const view of manager) dress(view.model.document, theme);
    }
  });
  (async () => {
    for (const figure of figures.filter((each) => each.dataset.variants !== "0")) await draw(figure, figure.querySelector(".switch")?.value ?? 0);
    document.documentElement.dataset.figures = "drawn";
  })();
})();
