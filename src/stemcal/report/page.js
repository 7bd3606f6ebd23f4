// The page works without this: a tile then leads to the table, and a preview to the figures, to be opened by hand.
const rows = [...document.querySelectorAll("tr[data-state]")];
const tiles = [...document.querySelectorAll("a.tile")];
for (const tile of tiles) {
  tile.addEventListener("click", () => {
    const chosen = tile.getAttribute("aria-current") === "true" ? "" : tile.dataset.state;
    for (const other of tiles) other.setAttribute("aria-current", String(other.dataset.state === chosen));
    for (const row of rows) row.hidden = chosen !== "" && row.dataset.state !== chosen;
  });
}
const open = () => {
  const target = location.hash && document.getElementById(location.hash.slice(1));
  if (target && target.tagName === "DETAILS") target.open = true;
};
addEventListener("hashchange", open);
open();
