const PART = 2 ** 20; // bytes of a message: Jupyter servers drop messages above 10 MB without a word
const NOTE = "CSV, text or .xlsx. Above 10 MB it is faster to put the file on the server and type its path.";

function render({ model, el }) {
  const id = `upload-${Math.random()}`;
  el.className += " viberkit-input";
  el.innerHTML = `<label for="${id}">or upload it</label>
    <span><input type="file" id="${id}" aria-describedby="${id}-note"><small id="${id}-note">${NOTE}</small></span>`;
  const input = el.querySelector("input");
  input.addEventListener("change", async () => {
    const [file] = input.files;
    for (let start = 0; file && (start === 0 || start < file.size); start += PART) {
      const part = await file.slice(start, start + PART).arrayBuffer();
      const last = start + PART >= file.size;
      model.send({ name: file.name, size: file.size, start, last }, undefined, [part]);
    }
    input.value = ""; // the same file may be chosen again
  });
}

export default { render };
