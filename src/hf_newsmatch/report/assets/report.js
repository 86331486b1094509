"use strict";
// Lists and shows cases. Texts of the data only ever become text nodes and attributes, never markup.
(() => {
  const STEP = 12;
  const parts = {};
  const $ = (id) => document.getElementById(id);
  const form = $("filters"), part = $("part"), kind = $("kind"), search = $("search");
  const list = $("list"), more = $("more"), status = $("status"), dimensions = $("dimensions");
  let found = [], shown = 0;

  window.newsmatchData = (name, data) => {
    parts[name] = data;
    data.words = data.articles.map((article) => [
      article.id, article.text, article.picture === null ? "" : data.pictures[article.picture],
    ].join(" ").toLowerCase());
    if (name === part.value) open();
  };

  function element(tag, className, text) {
    const made = document.createElement(tag);
    if (className) made.className = className;
    if (text !== undefined) made.textContent = text;
    return made;
  }

  // a page from disk may load scripts, but not fetch files; each split comes when it is first asked for
  function load() {
    if (parts[part.value]) return open();
    status.textContent = "Loading …";
    const script = element("script");
    script.src = `data/${part.value}.js`;
    script.onerror = () => { status.textContent = `${script.src} is missing.`; };
    document.head.append(script);
  }

  function option(label, value) {
    const made = element("option", "", label);
    made.value = value;
    return made;
  }

  function open() {
    const data = parts[part.value];
    dimensions.replaceChildren(...data.dimensions.map((name, place) => {
      const label = element("label", "", name + " "), select = element("select");
      const values = [...new Set(data.articles.map((article) => article.groups[place]))].sort();
      select.append(option("all", ""), ...values.map((value) => option(value, value)));
      label.append(select);
      return label;
    }));
    for (const item of kind.options) {
      if (item.value) item.disabled = !(data.cases[item.value] || []).length;
    }
    if (kind.selectedOptions[0].disabled) {
      kind.value = [...kind.options].find((item) => item.value && !item.disabled)?.value || "";
    }
    filter();
  }

  function filter() {
    const data = parts[part.value];
    if (!data) return;
    const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
    const wanted = [...dimensions.querySelectorAll("select")].map((select) => select.value);
    const rows = kind.value ? data.cases[kind.value].map(([article]) => article) : data.articles.keys();
    found = [...rows].filter((row) =>
      wanted.every((value, place) => !value || data.articles[row].groups[place] === value)
      && words.every((word) => data.words[row].includes(word)));
    shown = 0;
    list.replaceChildren();
    showMore();
  }

  function showMore() {
    const data = parts[part.value];
    const first = list.children.length;
    const next = found.slice(shown, shown + STEP);
    list.append(...next.map((row) => card(data, data.articles[row])));
    shown += next.length;
    more.hidden = shown >= found.length;
    status.textContent = found.length ? `${shown} of ${found.length} articles` : "No article fits.";
    return list.children[first];
  }

  function picture(data, number, isTrue, score) {
    const box = element("div", isTrue ? "picture right" : "picture"), image = element("img");
    image.src = `pictures/${part.value}-${number}.webp`;
    image.alt = (isTrue ? "true picture " : "picture ") + data.pictures[number];
    image.title = data.pictures[number];
    image.loading = "lazy";
    box.append(image, (isTrue ? "✓ " : "") + (score === undefined || score === null ? "" : score.toFixed(3)));
    return box;
  }

  function card(data, article) {
    const box = element("article", "case"), left = element("div"), right = element("div");
    left.append(element("h3", "", article.id), element("p", "", article.text));
    left.append(element("p", "quiet", [article.date, ...article.groups].filter(Boolean).join(" · ")));
    if (article.picture !== null) {
      const truth = picture(data, article.picture, true);
      truth.classList.add("truth");
      truth.append(data.pictures[article.picture]);
      left.append(truth);
    }
    data.runs.forEach((run, place) => {
      const row = element("div", "run"), rank = article.ranks[place];
      const label = element("div");
      label.append(element("strong", "", run), " ", element("span", "", rank === null ? "not in the list" : `rank ${rank}`));
      row.append(label);
      row.append(...article.top[place].map(([number, score]) => picture(data, number, number === article.picture, score)));
      right.append(row);
    });
    box.append(left, right);
    return box;
  }

  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("input", (event) => { event.target === part ? load() : filter(); });
  more.addEventListener("click", () => {
    const first = showMore();
    if (first) { first.tabIndex = -1; first.focus(); }
  });
  kind.value = "repaired";
  const watcher = new IntersectionObserver((entries) => {
    if (entries.some((entry) => entry.isIntersecting)) { watcher.disconnect(); load(); }
  }, { rootMargin: "800px" });
  watcher.observe($("cases"));
})();
