// Draws the figures in the reader's theme; sorts and filters the table. No dependency but Plotly.
"use strict";
(() => {
  const figures = JSON.parse(document.getElementById("figures").textContent);
  const dark = window.matchMedia("(prefers-color-scheme: dark)");
  const narrow = window.matchMedia("(max-width: 700px)");
  const config = { displaylogo: false, responsive: true,
    modeBarButtonsToRemove: ["select2d", "lasso2d", "autoScale2d"] };

  // theme: "light" or "dark"; width: of every figure in pixels, else that of its element
  function draw(theme, width) {
    for (const [name, themes] of Object.entries(figures)) {
      const { data, layout } = structuredClone(themes[theme]);
      if (narrow.matches) {
        layout.font.size = 12;
        layout.margin = { ...layout.margin, l: 4, r: 8 };
      }
      // dragging must scroll a small screen, not zoom the figure
      layout.dragmode = narrow.matches ? false : "zoom";
      // the element has the height, so that resizing the window changes the width alone
      document.getElementById(name).style.height = `${layout.height}px`;
      delete layout.height;
      if (width) layout.width = width;
      Plotly.react(name, data, layout, { ...config, displayModeBar: narrow.matches ? false : "hover" });
    }
  }
  const redraw = () => draw(dark.matches ? "dark" : "light");
  redraw();
  dark.addEventListener("change", redraw);
  narrow.addEventListener("change", redraw);
  // 650 pixels fit between the margins of A4 and Letter
  window.addEventListener("beforeprint", () => draw("light", 650));
  window.addEventListener("afterprint", redraw);

  const table = document.getElementById("trials");
  const body = table.tBodies[0];
  const rows = [...body.rows];
  const headers = [...table.tHead.rows[0].cells];
  const box = document.getElementById("filter");
  const only = document.getElementById("only-front");
  const shown = document.getElementById("shown");
  const words = (row) => [...row.cells].map((cell) => cell.textContent).join(" ").toLowerCase();
  const texts = new Map(rows.map((row) => [row, words(row)]));

  function filter() {
    const asked = box.value.toLowerCase().split(/\s+/).filter(Boolean);
    let count = 0;
    for (const row of rows) {
      const text = texts.get(row);
      row.hidden = !asked.every((word) => text.includes(word)) ||
        (only.checked && !row.classList.contains("on-front"));
      if (!row.hidden) count += 1;
    }
    shown.textContent = count === rows.length ? `${count} rows` : `${count} of ${rows.length} rows`;
  }

  function sort(column) {
    const header = headers[column];
    const up = header.getAttribute("aria-sort") !== "ascending";
    for (const other of headers) other.setAttribute("aria-sort", "none");
    header.setAttribute("aria-sort", up ? "ascending" : "descending");
    const key = (row) => row.cells[column].dataset.sort;
    const numbers = rows.every((row) => key(row) === "" || !Number.isNaN(Number(key(row))));
    rows.sort((a, b) => {
      const [x, y] = [key(a), key(b)];
      // what is missing comes last in both directions
      if (x === "" || y === "") return (x === "") - (y === "");
      const order = numbers ? x - y : x.localeCompare(y);
      return up ? order : -order;
    });
    body.append(...rows);
  }

  function mark(id) {
    const row = document.getElementById(id);
    if (row === null) return;
    if (row.hidden) {
      box.value = "";
      only.checked = false;
      filter();
    }
    for (const other of rows) other.classList.toggle("marked", other === row);
    row.scrollIntoView({ block: "center", behavior: "smooth" });
  }

  for (const header of headers) {
    header.querySelector("button").addEventListener("click", () => sort(header.cellIndex));
  }
  box.addEventListener("input", filter);
  only.addEventListener("change", filter);
  filter();
  for (const name of Object.keys(figures)) {
    document.getElementById(name).on("plotly_click", (event) => {
      const id = event.points[0].customdata;
      if (typeof id === "string") mark(id);
    });
  }
})();
