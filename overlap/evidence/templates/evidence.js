"use strict";
const chosen = document.getElementById("folder");
const told = document.getElementById("told");

function lay(svg, address) {
  const picture = new Image();
  picture.onload = () => {
    const image = document.createElementNS("http://www.w3.org/2000/svg", "image");
    const place = { href: address, x: -svg.dataset.x, y: -svg.dataset.y,
      width: picture.naturalWidth, height: picture.naturalHeight };
    for (const [name, value] of Object.entries(place)) image.setAttribute(name, value);
    svg.querySelectorAll("image").forEach((old) => old.remove());
    svg.prepend(image);
  };
  picture.src = address;
}

chosen.addEventListener("change", () => {
  const files = new Map([...chosen.files].map((file) => [file.name, file]));
  const addresses = new Map();
  let found = 0;
  const sketches = document.querySelectorAll("svg[data-file]");
  for (const svg of sketches) {
    const file = files.get(svg.dataset.file);
    if (!file) continue;
    if (!addresses.has(file.name)) addresses.set(file.name, URL.createObjectURL(file));
    lay(svg, addresses.get(file.name));
    found += 1;
  }
  told.textContent = `${found} of ${sketches.length} sketches have their photo`;
});
