/* The list of versions in the sidebar, of what the folder above has: `../versions.js` is written with each version. */
"use strict";

(() => {
  const place = document.getElementById("versions");
  const known = window.FUNCNET_VERSIONS ?? [];
  const current = place.dataset.version;
  const select = place.querySelector("select");
  for (const version of known) {
    const option = select.appendChild(document.createElement("option"));
    option.textContent = version === known[0] ? `${version} (newest)` : version;
    option.value = version;
    option.selected = version === current;
  }
  select.addEventListener("change", () => {
    window.location.href = `${place.dataset.root}../${select.value}/index.html`;
  });
  place.hidden = known.length === 0;
})();
