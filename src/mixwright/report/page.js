(() => {
  "use strict";
  const root = document.documentElement;
  const still = (text) => {
    for (const box of document.querySelectorAll(".chart")) {
      box.classList.add("failed");
      box.removeAttribute("style");
      box.textContent = text;
    }
  };

  // ---- tables that can be filtered -------------------------------------------------------------------------------
  for (const field of document.querySelectorAll("input[data-filters]")) {
    const rows = [...document.getElementById(field.dataset.filters).tBodies[0].rows];
    const said = document.getElementById(field.dataset.filters + "-said");
    field.closest(".filter").hidden = false;
    field.addEventListener("input", () => {
      const wanted = field.value.trim().toLowerCase();
      let shown = 0;
      for (const row of rows) {
        row.hidden = !row.cells[0].textContent.toLowerCase().includes(wanted);
        shown += row.hidden ? 0 : 1;
      }
      said.textContent = shown + " of " + rows.length + " shown";
    });
  }

  // ---- charts ----------------------------------------------------------------------------------------------------
  const figures = JSON.parse(document.getElementById("charts").textContent);
  const narrowNow = () => window.innerWidth < 620;

  // A colour in a figure is the name of a custom property; names of sources are never under these keys.
  const coloured = (value, style, key) => {
    if (Array.isArray(value)) return value.map((item) => coloured(item, style, key));
    if (value && typeof value === "object") {
      return Object.fromEntries(Object.entries(value).map(([k, v]) => [k, coloured(v, style, k)]));
    }
    if (typeof value === "string" && value.startsWith("--") && /color$/.test(key)) {
      return style.getPropertyValue(value).trim();
    }
    return value;
  };

  const changed = (layout, changes) => {
    const copy = structuredClone(layout);
    for (const [path, value] of Object.entries(changes)) {
      const keys = path.split(".");
      let at = copy;
      for (const key of keys.slice(0, -1)) at = at[key];
      at[keys.at(-1)] = value;
    }
    return copy;
  };

  const draw = (plotly, part = document) => {
    const style = getComputedStyle(root);
    const family = getComputedStyle(document.body).fontFamily;
    for (const figure of figures) {
      const box = document.getElementById(figure.name);
      if (!part.contains(box) || box.closest("details:not([open])")) continue; // those are drawn when they open
      const layout = coloured(narrowNow() ? changed(figure.layout, figure.narrow) : figure.layout, style, "");
      layout.font.family = family;
      layout.width = box.clientWidth;
      box.style.height = layout.height + "px";
      plotly.react(box, coloured(figure.data, style, ""), layout, { displayModeBar: false, responsive: false });
    }
  };

  const watch = (plotly) => {
    let width = window.innerWidth;
    let waiting = 0;
    const again = () => draw(plotly);
    window.addEventListener("resize", () => {
      if (window.innerWidth === width) return;
      width = window.innerWidth;
      clearTimeout(waiting);
      waiting = setTimeout(again, 120);
    });
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", again);
    const opened = (event) => event.target.open && draw(plotly, event.target);
    document.addEventListener("toggle", opened, true); // it does not bubble
    let closed = [];
    window.addEventListener("beforeprint", () => {
      closed = [...document.querySelectorAll("details:not([open])")];
      for (const part of closed) part.open = true;
      root.classList.add("printing");
      again();
    });
    window.addEventListener("afterprint", () => {
      for (const part of closed) part.open = false;
      root.classList.remove("printing");
      again();
    });
  };

  const unpacked = async () => {
    const text = document.getElementById("chart-library").textContent.trim();
    const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
    return new Response(stream).text();
  };

  const start = async () => {
    try {
      const library = document.createElement("script");
      library.textContent = await unpacked();
      document.head.append(library);
      draw(window.Plotly);
      watch(window.Plotly);
      root.dataset.charts = "drawn";
    } catch (error) {
      still("The chart could not be drawn by this browser; its numbers are in the table.");
      root.dataset.charts = "failed";
    }
  };
  start();
})();
