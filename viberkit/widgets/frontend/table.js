const SHORT = 40; // characters of a cell that is not wrapped

const button = (text, onClick) => {
  const element = document.createElement("button");
  element.type = "button";
  element.textContent = text;
  element.addEventListener("click", onClick);
  return element;
};
const cell = (tag, child) => {
  const element = document.createElement(tag);
  element.append(child);
  return element;
};

function render({ model, el }) {
  const table = document.createElement("table");
  const caption = table.createCaption();
  const head = table.createTHead().insertRow();
  const body = table.createTBody();
  const pager = document.createElement("div");
  const shown = document.createElement("span");
  let page = 0;
  const previous = button("Previous", () => model.send({ page: page - 1 }));
  const next = button("Next", () => model.send({ page: page + 1 }));
  shown.setAttribute("role", "status");
  pager.className = "viberkit-pager";
  pager.append(previous, next, shown);
  el.classList.add("viberkit-table");
  const scroll = cell("div", table); // a wide table scrolls, the page does not
  scroll.className = "viberkit-scroll";
  scroll.tabIndex = 0;
  scroll.setAttribute("role", "region");
  el.append(scroll, pager);

  const showHead = (content) => {
    const names = JSON.stringify([content.columns, content.choose]);
    if (head.dataset.names !== names) {
      head.dataset.names = names;
      const columns = content.columns.map((name) => {
        const th = cell("th", button(name, () => model.send({ sort: name })));
        th.scope = "col";
        return th;
      });
      const chosen = content.choose ? [cell("th", content.choose === "many" ? "Select" : "Open")] : [];
      head.replaceChildren(...chosen, ...columns);
    }
    const offset = content.choose ? 1 : 0;
    content.columns.forEach((name, index) => {
      const th = head.cells[index + offset];
      th.className = content.right[index] ? "viberkit-right" : "";
      const order = content.ascending ? "ascending" : "descending";
      th.setAttribute("aria-sort", content.sort === name ? order : "none");
    });
  };
  const chooser = (content, row) => {
    const name = `${content.choose === "many" ? "Select" : "Open"} ${row.cells[0]}`;
    let element;
    if (content.choose === "many") {
      element = document.createElement("input");
      element.type = "checkbox";
      element.checked = row.chosen;
      element.addEventListener("change", () => model.send({ row: row.key, chosen: element.checked }));
    } else {
      element = button("▸", () => model.send({ row: row.key, chosen: true }));
      element.setAttribute("aria-pressed", row.chosen);
    }
    element.setAttribute("aria-label", name);
    element.dataset.key = row.key;
    return cell("td", element);
  };
  const showBody = (content) => {
    const focused = body.contains(document.activeElement) ? document.activeElement.dataset.key : null;
    const rows = content.rows.map((row) => {
      const tr = document.createElement("tr");
      if (content.choose) tr.append(chooser(content, row));
      row.cells.forEach((text, index) => {
        const td = cell("td", text);
        if (content.right[index]) td.className = "viberkit-right";
        else td.className = text.length > SHORT ? "viberkit-long" : "viberkit-short";
        tr.append(td);
      });
      return tr;
    });
    body.replaceChildren(...rows);
    const again = focused && [...body.querySelectorAll("[data-key]")].find((item) => item.dataset.key === focused);
    if (again) again.focus();
  };
  const show = ({ page_content: content }) => {
    if (!content) return;
    page = content.page;
    caption.textContent = content.caption;
    scroll.setAttribute("aria-label", content.caption);
    showHead(content);
    showBody(content);
    shown.textContent = content.total
      ? `${content.first.toLocaleString("en")}–${content.last.toLocaleString("en")} of ${content.total.toLocaleString("en")}`
      : "no rows";
    table.tHead.hidden = previous.hidden = next.hidden = !content.total;
    previous.disabled = content.first <= 1;
    next.disabled = content.last >= content.total;
    pager.hidden = content.total > 0 && content.first === 1 && content.last === content.total;
  };
  model.on("msg:custom", show);
  model.send("ready");
  return () => model.off("msg:custom", show);
}

export default { render };
