/*
 * Ranking of search results, over the index that Sphinx writes; it works from file://, too.
 *
 * A query that is a public name leads to the page of that name. Any other is a question in plain words: pages are ordered
 * by how many of its words they have, rare words and words of titles counting more, long pages less. No word is required.
 */
"use strict";

(() => {
  const WEIGHTS = { howto: 1.5, coming_from: 1.1, guides: 1.15, learn: 1.0, how_it_works: 0.8, examples: 0.8, reference: 0.6, source: 0.2 };
  const HOMES = ["nn", "F", "optim", "fn", "data", "training"]; // which of several namespaces is meant by a bare name
  const EMPTY = new Set(("a about after all also am an and any are as at be because been before but by can cannot could did do does doing don " +
    "during each ever every for from funcnet get gets getting give given had has have having he help here how i if in instead into is it its just keep let " +
    "like make many may me more much my need no not of on one only or other our out please same should so some such than that the their them then " +
    "there these they thing this to too t s try trying up use used using very want was way we were what when where which while who why will with without work works would you your").split(" "));
  const MOST = 40;

  const plain = (name) => name.toLowerCase().replace(/[\s_-]/g, "");
  const last = (name) => name.split(".").pop();
  const list = (found) => (found === undefined ? [] : Array.isArray(found) ? found : [found]);
  const folder = (doc) => doc.split("/")[0];

  /** Split a text into stems, without the words that say nothing. */
  const stems = (text) => {
    const stemmer = new Stemmer();
    const words = splitQuery(text.toLowerCase()).filter((word) => !EMPTY.has(word));
    return [...new Set(words.map((word) => stemmer.stemWord(word)))];
  };

  /** Pages of names that the whole query is, the best first: their numbers. */
  const named = (index, query) => {
    const wanted = plain(query).replace(/^(funcnet|torch|jax)\./, "").replace(/^nn\.functional\./, "f.").replace(/\(\)$/, "");
    const found = [];
    index.titles.forEach((title, number) => {
      if (folder(index.docnames[number]) !== "reference" || /\s/.test(title.trim())) return;
      const name = plain(title);
      const home = HOMES.indexOf(title.split(".")[0]);
      const order = (home < 0 ? HOMES.length : home) - (last(title) === query ? 1.5 : 0); // Vmap and vmap are two things
      if (name === wanted) found.push([order - 100, number]);
      else if (last(name) === wanted || last(name) === last(wanted)) found.push([order, number]);
    });
    return found.sort((a, b) => a[0] - b[0]).map((pair) => pair[1]);
  };

  /** How long each page is: the number of its different words, as a part of the average. */
  const lengths = (index) => {
    const counts = new Array(index.docnames.length).fill(1);
    Object.values(index.terms).forEach((found) => list(found).forEach((number) => counts[number]++));
    const average = counts.reduce((a, b) => a + b, 0) / counts.length;
    return counts.map((count) => count / average);
  };

  /** The pages that have a stem, or one that begins with it, with how well: page -> 0..1. */
  const holders = (table, stem) => {
    const found = new Map();
    if (Object.hasOwn(table, stem)) list(table[stem]).forEach((number) => found.set(number, 1));
    else if (stem.length > 3)
      for (const term of Object.keys(table))
        if (term.startsWith(stem)) list(table[term]).forEach((number) => found.set(number, 0.6));
    return found;
  };

  /** Rank pages for the words of a question: [[number, score], ...], the best first. */
  const ranked = (index, words) => {
    const size = lengths(index);
    const titles = index.titles.map((title) => new Set(stems(title)));
    const [scores, held] = [new Map(), new Map()]; // of each page: how well it fits, how many of the words it has
    for (const word of words) {
      const texts = holders(index.terms, word);
      const headings = holders(index.titleterms, word);
      const pages = new Set([...texts.keys(), ...headings.keys()]);
      const rare = Math.log(1 + index.docnames.length / (1 + pages.size));
      for (const number of pages) {
        const title = titles[number].has(word) ? 3 : 0;
        const text = (texts.get(number) ?? 0) / (0.6 + 0.4 * size[number]);
        const value = rare * (title + 1.2 * (headings.get(number) ?? 0) + text);
        scores.set(number, (scores.get(number) ?? 0) + value);
        held.set(number, (held.get(number) ?? 0) + 1);
      }
    }
    const weight = (n) => (WEIGHTS[folder(index.docnames[n])] ?? 0.5) * (/index$/.test(index.docnames[n]) ? 0.6 : 1);
    const weighed = [...scores].map(([n, score]) => [n, score * weight(n) * (0.3 + (0.7 * held.get(n)) / words.length)]);
    return weighed.sort((a, b) => b[1] - a[1] || index.docnames[a[0]].localeCompare(index.docnames[b[0]]));
  };

  /** The section of a page whose heading has most of the words, unless the page's own title has as many. */
  const section = (index, number, words) => {
    const shared = (title) => stems(title).filter((stem) => words.includes(stem)).length;
    let [best, anchor, heading] = [shared(index.titles[number]), "", ""];
    for (const [title, places] of Object.entries(index.alltitles))
      for (const [page, id] of places)
        if (page === number && id !== null && shared(title) > best) [best, anchor, heading] = [shared(title), `#${id}`, title];
    return [anchor, heading];
  };

  const element = (parent, kind, text, name) => {
    const made = parent.appendChild(document.createElement(kind));
    made.textContent = text;
    if (name) made.className = name;
    return made;
  };

  const show = (index, query) => {
    const words = stems(query);
    const first = named(index, query);
    const rest = ranked(index, words).map((pair) => pair[0]).filter((number) => !first.includes(number));
    const found = [...first, ...rest].slice(0, MOST);
    const summaries = window.FUNCNET_SUMMARIES ?? {};
    for (const number of found) {
      const doc = index.docnames[number];
      const [anchor, heading] = first.includes(number) ? ["", ""] : section(index, number, words);
      const item = element(Search.output, "li", "", "kind-text");
      const link = element(item, "a", index.titles[number]);
      link.href = doc + DOCUMENTATION_OPTIONS.LINK_SUFFIX + anchor;
      link.dataset.page = doc;
      element(item, "span", folder(doc) === doc ? "" : folder(doc).replaceAll("_", " "), "search-folder");
      if (heading) element(item, "p", heading, "search-heading");
      element(item, "p", summaries[doc] ?? "", "context");
    }
    Search.stopPulse();
    Search.title.textContent = found.length ? `Pages for “${query}”` : `No page has a word of “${query}”`;
    Search.status.textContent = "";
    Search.output.dataset.state = "ready";
  };

  Search.query = (query) => show(Search._index, query.trim());
})();
