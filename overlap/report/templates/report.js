"use strict";
const cards = [...document.querySelectorAll("#landmarks .landmark")];
const field = document.getElementById("filter");
if (field) {
  field.closest("p").hidden = false;
  field.addEventListener("input", () => {
    const wanted = field.value.trim().toLowerCase();
    for (const card of cards) card.hidden = !card.querySelector("header").textContent.toLowerCase().includes(wanted);
    const shown = cards.filter((card) => !card.hidden).length;
    document.getElementById("shown").textContent = wanted ? `${shown} of ${cards.length}` : "";
  });
}

const viewer = document.getElementById("viewer");
let shots = [];
let place = 0;

function show(step) {
  place = (place + step + shots.length) % shots.length;
  const query = shots[place].closest(".gallery").querySelector(":scope > .shot");
  const pair = [query, shots[place]].filter(Boolean).map((shot) => shot.cloneNode(true));
  for (const image of pair.flatMap((shot) => [...shot.querySelectorAll("img")])) {
    image.removeAttribute("role");
    image.removeAttribute("tabindex");
  }
  viewer.querySelector(".views").replaceChildren(...pair);
  document.getElementById("viewer-place").textContent = `Photo ${place + 1} of ${shots.length}`;
}

function open(image) {
  shots = [...image.closest(".gallery").querySelectorAll(".photos .shot")];
  if (!shots.length) return;
  place = Math.max(shots.indexOf(image.closest(".shot")), 0);
  show(0);
  viewer.showModal();
}

for (const image of document.querySelectorAll(".gallery .shot img")) {
  image.tabIndex = 0;
  image.setAttribute("role", "button");
  image.addEventListener("click", () => open(image));
  image.addEventListener("keydown", (event) => {
    if (event.key !== "Enter" && event.key !== " ") return;
    event.preventDefault();
    open(image);
  });
}
viewer.addEventListener("keydown", (event) => {
  if (event.key === "ArrowRight") show(1);
  if (event.key === "ArrowLeft") show(-1);
});
viewer.addEventListener("click", (event) => {
  if (event.target === viewer) viewer.close();
});
