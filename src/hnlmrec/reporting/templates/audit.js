/* The browser of users in the audit: it puts texts in as texts, never as HTML */
"use strict";
(() => {
  const { users, items } = JSON.parse(document.getElementById("data").textContent);
  const search = document.getElementById("search");
  const list = document.getElementById("list");
  const found = document.getElementById("found");
  const card = document.getElementById("user");
  const MOST = 100;

  const element = (tag, text, className) => {
    const made = document.createElement(tag);
    if (text !== undefined) made.textContent = text;
    if (className) made.className = className;
    return made;
  };

  // Texts of others stand apart, so that their direction changes nothing around them.
  const foreign = (text) => {
    const made = element("bdi", text);
    made.dir = "auto";
    return made;
  };

  const tag = (text) => element("span", text, text.startsWith("held out") ? "tag warn" : "tag");

  const title = (number) => {
    const made = foreign(items[number].title);
    made.title = `id ${items[number].id}, ${items[number].popularity} train users`;
    return made;
  };

  const itemList = (rows, render) => {
    const made = element("ol", undefined, "near");
    for (const row of rows) {
      const line = element("li");
      line.append(...render(row));
      made.append(line);
    }
    return made;
  };

  const heading = (text, ...parts) => {
    const made = element("section");
    made.append(element("h3", text), ...parts);
    return made;
  };

  const marks = (row) => (row.relation ? [" ", tag(row.relation)] : []);

  const generated = (row) => {
    const made = element("div", undefined, "negative");
    const first = element("h4");
    first.append(foreign(row.name || "(no name)"), " ", element("span", row.outcome, "tag"), ...marks(row));
    const facts = element("dl");
    const fact = (name, ...values) => {
      const value = element("dd");
      value.append(...values);
      facts.append(element("dt", name), value);
    };
    fact("made for", row.positive === null ? "the user, not for one item" : title(row.positive));
    if (row.item !== null && items[row.item].title !== row.name) fact("matched to", title(row.item));
    if (row.reasoning) fact("because", foreign(row.reasoning));
    const near = (n) => [title(n.item), ` (cosine ${n.cosine.toFixed(2)})`, ...marks(n)];
    fact("nearest items", row.near.length ? itemList(row.near, near) : "no vector in the space of the items");
    made.append(first, facts);
    return made;
  };

  const drawn = (part) => {
    const made = element("div", undefined, "negative");
    const held = part.held_out ? `, ${part.held_out} of them held out` : "";
    const counts = element("p", `${part.draws} draws kept, ${part.items} items${held}`, "note");
    const line = (row) => {
      const gap = row.gap === null ? "" : `, positive − negative ${row.gap.toFixed(2)}`;
      const judged = row.judged_false ? [" ", element("span", "a judge called it false", "tag")] : [];
      return [title(row.item), ` (${row.times}×${gap})`, ...marks(row), ...judged];
    };
    made.append(element("h4", part.title), counts, itemList(part.rows, line));
    return made;
  };

  const show = (user) => {
    const name = element("h3", "User ");
    name.append(foreign(user.id));
    const about = element("dl");
    for (const [label, text] of [["facts", user.facts], ["profile", user.profile]]) {
      const value = element("dd");
      value.append(text ? foreign(text) : "none");
      about.append(element("dt", label), value);
    }
    const more = user.history_size - user.history.length;
    const parts = [
      heading(`History (${user.history_size} train items)`, itemList(user.history, (n) => [title(n)])),
      heading(`Held out (${user.held_out.length} items of validation and test)`,
        itemList(user.held_out, (n) => [title(n)])),
    ];
    if (more > 0) parts[0].append(element("p", `and ${more} more`, "note"));
    const sides = element("div", undefined, "columns");
    sides.append(...parts);
    const written = user.generated.length ? user.generated.map(generated) : [element("p", "none", "note")];
    const samples = element("div", undefined, "columns");
    samples.append(...(user.drawn.length ? user.drawn.map(drawn) : [element("p", "none was kept", "note")]));
    card.replaceChildren(name, about, sides, heading("Generated negatives", ...written),
      heading("Drawn negatives", samples));
    for (const button of list.querySelectorAll("button")) {
      button.setAttribute("aria-pressed", String(button.dataset.user === user.id));
    }
  };

  const filter = () => {
    const wanted = search.value.trim().toLowerCase();
    const matching = users.filter((user) => user.id.toLowerCase().includes(wanted));
    const shown = matching.slice(0, MOST);
    found.textContent = `${matching.length} of ${users.length} users`
      + (matching.length > MOST ? `, the first ${MOST} shown` : "");
    list.replaceChildren(...shown.map((user) => {
      const button = element("button");
      button.type = "button";
      button.dataset.user = user.id;
      button.append(foreign(user.id));
      button.addEventListener("click", () => show(user));
      const line = element("li");
      line.append(button);
      return line;
    }));
    const exact = matching.find((user) => user.id.toLowerCase() === wanted);
    if (matching.length) show(exact || matching[0]);
    else card.replaceChildren(element("p", "No user of this page has such an id.", "note"));
  };

  search.addEventListener("input", filter);
  filter();
})();
