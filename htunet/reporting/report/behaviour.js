"use strict";
(() => {
  const AT_ONCE = 48;
  const data = JSON.parse(document.getElementById("gallery-data").textContent);
  const byId = id => document.getElementById(id);

  function element(tag, attributes = {}, ...children) {
    const made = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
    made.append(...children);
    return made;
  }

  // Tables: a click on a heading sorts; rows without a value stay last.
  function sortBy(heading) {
    const table = heading.closest("table"), body = table.tBodies[0], column = heading.cellIndex;
    const numeric = heading.classList.contains("n");
    const before = heading.getAttribute("aria-sort");
    const order = before ? (before === "ascending" ? "descending" : "ascending") : (numeric ? "descending" : "ascending");
    const sign = order === "ascending" ? 1 : -1;
    const value = row => {
      const text = row.cells[column].dataset.sort;
      return numeric ? Number.parseFloat(text) : (text || "");
    };
    const absent = entry => numeric ? Number.isNaN(entry) : entry === "";
    const compare = (a, b) => numeric ? a - b : a.localeCompare(b, "en", { numeric: true });
    const rows = [...body.rows].map((row, place) => ({ row, place, value: value(row) }));
    rows.sort((a, b) => absent(a.value) - absent(b.value)
      || (absent(a.value) ? 0 : sign * compare(a.value, b.value)) || a.place - b.place);
    body.append(...rows.map(entry => entry.row));
    for (const other of heading.parentElement.cells) other.removeAttribute("aria-sort");
    heading.setAttribute("aria-sort", order);
  }
  for (const button of document.querySelectorAll("thead button"))
    button.addEventListener("click", () => sortBy(button.parentElement));

  function filterRows() {
    const dataset = byId("rows-dataset")?.value || "";
    const words = (byId("rows-text")?.value || "").toLowerCase().split(/\s+/).filter(Boolean);
    for (const row of document.querySelectorAll("table.results tbody tr")) {
      const text = row.textContent.toLowerCase();
      row.hidden = (dataset && row.dataset.dataset !== dataset) || !words.every(word => text.includes(word));
    }
  }
  for (const id of ["rows-dataset", "rows-text"]) byId(id)?.addEventListener("input", filterRows);

  // On a narrow page each row is a list of its cells with their headings.
  for (const table of document.querySelectorAll("table")) {
    const headings = [...table.tHead.rows[0].cells].map(cell => cell.textContent);
    for (const row of table.tBodies[0].rows) for (const cell of row.cells) cell.dataset.label = headings[cell.cellIndex];
    table.classList.add("labelled");
  }

  // Gallery: only the tiles that are looked at are in the page.
  const grid = byId("grid"), more = byId("show-more"), count = byId("shown-count");
  const filters = ["task", "dataset", "method", "class", "size", "group"];
  let shown = [], visible = AT_ONCE;

  function stack(item, alt) {
    const made = element("div", { class: "stack" });
    if (item.picture === null) {
      made.append(element("span", { class: "absent" }, "image not at hand"));
      return made;
    }
    made.append(element("img", { src: "data:image/jpeg;base64," + data.pictures[item.picture], alt }));
    if (item.layer === null) return made;
    const layers = { fill: data.layers[item.layer], uncertainty: data.uncertainties[item.layer], reference: data.references[item.picture], prediction: data.outlines[item.layer] };
    for (const [name, content] of Object.entries(layers))
      if (content) made.append(element("img", { class: "layer " + name, src: "data:image/png;base64," + content, alt: "" }));
    return made;
  }

  const about = item => [item.class, item.size && item.size + " lesion", item.lesion].filter(Boolean).join(" · ");
  const description = item =>
    [`${item.dataset}, case ${item.case}, ${item.method}`, data.groups[item.group], ...item.facts, about(item)].filter(Boolean).join(", ");

  function tile(item, place) {
    const button = element("button", { type: "button", "aria-label": "Enlarge " + description(item) },
      stack(item, description(item)), element("span", { class: "badge " + item.group }, data.groups[item.group]));
    button.addEventListener("click", () => open(place));
    const caption = element("figcaption", {}, element("b", {}, item.case),
      element("span", { class: "facts" }, item.facts.join(" · ")),
      element("span", {}, [item.dataset, item.method].join(" · ")), element("span", {}, about(item)));
    return element("figure", { class: "tile" }, button, caption);
  }

  function draw() {
    grid.replaceChildren(...shown.slice(0, visible).map(tile));
    const drawn = Math.min(visible, shown.length);
    count.textContent = `${drawn} of ${shown.length} cases shown` + (shown.length < data.items.length ? ` (${data.items.length} in all)` : "");
    more.hidden = shown.length <= visible;
    more.textContent = `Show ${Math.min(AT_ONCE, shown.length - visible)} more`;
  }

  function filterCases() {
    const chosen = filters.map(name => [name, byId("filter-" + name)?.value || ""]).filter(([, value]) => value);
    shown = data.items.filter(item => chosen.every(([name, value]) => item[name] === value));
    visible = AT_ONCE;
    draw();
  }

  // The viewer.
  const viewer = byId("viewer");
  let place = 0;

  function show(item) {
    byId("viewer-name").textContent = item.case;
    viewer.querySelector(".stack").replaceWith(stack(item, description(item)));
    byId("viewer-facts").textContent =
      [data.groups[item.group], ...item.facts, item.dataset, item.method, about(item), item.source && "file " + item.source].filter(Boolean).join(" · ");
    const legend = item.layer === null ? [] : data.legends[item.dataset] || [];
    byId("viewer-legend").replaceChildren(...legend.map(([colour, name]) => {
      const square = element("i");
      square.style.background = colour;
      return element("span", {}, square, name);
    }));
    const others = data.items.filter(one => one !== item && one.case === item.case && one.dataset === item.dataset && one.task === item.task);
    byId("viewer-others").hidden = others.length === 0;
    byId("viewer-others").replaceChildren("The same image:", ...others.slice(0, 24).map(one => {
      const button = element("button", { type: "button" }, `${one.method} · ${one.facts[0]}`);
      button.addEventListener("click", () => { show(one); viewer.focus(); });
      return button;
    }));
  }

  function open(at) {
    place = at;
    show(shown[place]);
    if (!viewer.open) viewer.showModal();
    byId("viewer-previous").disabled = place === 0;
    byId("viewer-next").disabled = place === shown.length - 1;
  }
  const step = by => { if (shown[place + by]) open(place + by); };

  const boxes = name => document.querySelectorAll(`[data-layer=${name}]`);
  const keys = { r: "reference", p: "prediction", f: "fill", u: "uncertainty" };
  function setLayer(name, on) {
    document.body.classList.toggle("without-" + name, !on);
    for (const box of boxes(name)) box.checked = on;
  }

  if (grid) {
    for (const name of filters) byId("filter-" + name)?.addEventListener("input", filterCases);
    more.addEventListener("click", () => { visible += AT_ONCE; draw(); });
    for (const name of Object.values(keys)) {
      setLayer(name, name === "reference" || name === "prediction");
      for (const box of boxes(name)) box.addEventListener("input", event => setLayer(name, event.target.checked));
    }
    byId("viewer-previous").addEventListener("click", () => step(-1));
    byId("viewer-next").addEventListener("click", () => step(1));
    byId("viewer-close").addEventListener("click", () => viewer.close());
    viewer.addEventListener("click", event => { if (event.target === viewer) viewer.close(); });
    document.addEventListener("keydown", event => {  // not the viewer's: a button that is disabled loses the focus
      if (event.ctrlKey || event.metaKey || event.altKey || event.target.matches("input[type=search], select")) return;
      if (Object.hasOwn(keys, event.key)) setLayer(keys[event.key], !boxes(keys[event.key])[0]?.checked);
      else if (viewer.open && event.key === "ArrowLeft") step(-1);
      else if (viewer.open && event.key === "ArrowRight") step(1);
      else return;
      event.preventDefault();
    });
    viewer.addEventListener("close", () => {
      if (place >= visible) { visible = place + 1; draw(); }
      grid.children[place]?.querySelector("button").focus();
    });
    filterCases();
  }

  byId("copy")?.addEventListener("click", event => {
    navigator.clipboard?.writeText(byId("commands").textContent).then(() => { event.target.textContent = "Copied"; }, () => {});
  });
  window.addEventListener("beforeprint", () => document.querySelectorAll("details").forEach(one => { one.open = true; }));
})();
