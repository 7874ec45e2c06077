function render({ model, el }) {
  const view = String(Math.random());
  el.innerHTML = '<button type="button" class="jupyter-button widget-button">Download as CSV</button>';
  el.firstChild.addEventListener("click", () => model.send({ view }));
  const save = (file) => {
    if (file.view !== view) return;
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob(["\ufeff", file.text], { type: "text/csv" }));
    link.download = file.name;
    link.click();
    URL.revokeObjectURL(link.href);
  };
  model.on("msg:custom", save);
  return () => model.off("msg:custom", save);
}

export default { render };
