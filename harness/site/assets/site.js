// Chooses, sorts and compares what the page already says. The state is in the address, so that links and Back work.
(() => {
  'use strict';

  const MISSING = 100; // As in score.rs.
  const CLASSES = [1.03, 1.1, 1.25, 1.5, 2, 3, 5, 20]; // As in pages/cells.rs.

  // Files of data push themselves; those that came before this one have queued.
  const came = { data: null, pairs: null, values: new Map() };
  const waiting = new Map();
  const take = ([name, value]) => {
    if (name === 'values') {
      const [place, rows, pages] = value;
      came.values.set(place, { rows, pages });
    } else {
      came[name] = value;
    }
  };
  const queued = window.meshbench || [];
  window.meshbench = { push: take };
  queued.forEach(take);
  const table = document.getElementById('board');
  const controls = document.getElementById('controls');
  if (!came.data || !table || !controls) return;

  const { modules, scenarios, questions } = came.data;
  const { kinds } = came.data;
  const unfold = ([scenario, kind, ...rest]) => [scenario, ...kinds[kind], ...rest];
  const rows = came.data.rows.map(unfold).map(([scenario, workload, metric, question, weight, figures], at) => ({
    at, scenario, workload, metric, question, weight, figures: figures.split(',').map(figure),
  }));
  const placeInScenario = new Map();
  rows.forEach((row) => {
    const before = rows.filter((other) => other.scenario === row.scenario && other.at < row.at);
    placeInScenario.set(row.at, before.length);
  });
  const workloads = [...new Set(rows.map((row) => row.workload))];

  function figure(text) {
    const parts = /^([\d.]+)?(p?)([waqbm]?)$/.exec(text);
    if (text === '' || !parts) return { tried: text !== '', measured: false, why: text };
    return {
      tried: true, measured: true, factor: parts[1] === undefined ? null : Number(parts[1]), part: parts[2] === 'p', sign: parts[3],
    };
  }

  // The state, and its form in the address.

  const fresh = () => ({ vpn: null, net: null, work: null, base: '', only: false, sort: '', turn: false, open: [] });
  let state = fresh();

  const lists = { vpn: modules.map((it) => it[0]), net: scenarios.map((it) => it[0]), work: workloads };

  function read() {
    const found = fresh();
    const asked = new URLSearchParams(location.hash.slice(1));
    for (const name of ['vpn', 'net', 'work']) {
      if (asked.has(name)) {
        const named = asked.get(name).split(' ').filter((it) => it !== '');
        const known = named.filter((it) => lists[name].includes(it));
        // An address of another board, which has none of them, chooses nothing here.
        found[name] = named.length && !known.length ? null : known;
      }
    }
    const base = asked.get('base') || '';
    if (lists.vpn.includes(base)) found.base = base;
    found.only = asked.get('only') === '1';
    found.turn = asked.get('turn') === '1';
    found.sort = asked.get('sort') || '';
    found.open = (asked.get('open') || '').split(' ').filter(Boolean);
    return found;
  }

  function written(of) {
    const out = new URLSearchParams();
    for (const name of ['vpn', 'net', 'work']) if (of[name] !== null) out.set(name, of[name].join(' '));
    if (of.base) out.set('base', of.base);
    if (of.only) out.set('only', '1');
    if (of.turn) out.set('turn', '1');
    if (of.sort) out.set('sort', of.sort);
    if (of.open.length) out.set('open', of.open.join(' '));
    return out.toString();
  }

  // A new state is a new entry of the history; showing it is left to the event, as it is for Back.
  function go(change) {
    const next = written({ ...state, ...change });
    if (next === location.hash.slice(1)) return;
    location.hash = next === '' ? 'table' : next;
  }

  // Data that only some views need.

  function need(file, has) {
    if (has()) return Promise.resolve();
    if (!waiting.has(file)) {
      waiting.set(file, new Promise((resolve, reject) => {
        const script = document.createElement('script');
        script.src = file;
        script.onload = resolve;
        script.onerror = () => { waiting.delete(file); reject(new Error(`${file} cannot be read`)); };
        document.head.append(script);
      }));
    }
    return waiting.get(file);
  }

  // Figures.

  const chosen = (name) => state[name] || lists[name];
  // Nothing for what has figures and no wire to measure them by, as in Row::counted.
  const counted = (row, module) => {
    const { measured, factor } = row.figures[module];
    return measured ? factor : MISSING;
  };

  function mean(own, module) {
    let sum = 0;
    let weights = 0;
    for (const row of own) {
      const factor = counted(row, module);
      if (factor === null) continue;
      sum += row.weight * Math.log(factor);
      weights += row.weight;
    }
    return weights > 0 ? Math.exp(sum / weights) : null;
  }

  function times(factor) {
    if (factor >= MISSING * 0.9995) return '≥ 100';
    return factor >= 9.995 ? factor.toFixed(1) : factor.toFixed(2);
  }

  const colour = (factor) => {
    const at = CLASSES.findIndex((end) => factor <= end);
    return `r${at < 0 ? CLASSES.length : at}`;
  };

  function sign(own, module) {
    const signs = own.map((row) => row.figures[module].sign || '');
    if (signs.includes('b')) return '!';
    if (signs.includes('w')) return '▼';
    if (signs.length && signs.every((it) => it === 'a')) return '≈';
    return signs.includes('q') || signs.includes('a') ? '?' : '';
  }

  // Next to the wire; while VPNs are compared with one of them, the only signs are those of that.
  const mark = (line, module) => (line.mean || (state.base && came.pairs) ? '' : sign(line.own, module));

  // Of a module next to the one that is compared with: better, worse, alike, undecided.
  function next(row, module) {
    const base = lists.vpn.indexOf(state.base);
    if (base < 0 || base === module || !came.pairs) return '';
    const [low, high] = [Math.min(base, module), Math.max(base, module)];
    const n = modules.length;
    const letter = came.pairs[row.at][low * n - (low * (low + 1)) / 2 + high - low - 1];
    if (module === low || letter === 'a' || letter === 'q' || letter === '-') return letter;
    return letter === 'b' ? 'w' : 'b';
  }

  function tally(own, module) {
    const all = { b: 0, w: 0, a: 0, q: 0, '-': 0 };
    own.forEach((row) => { const letter = next(row, module); if (letter) all[letter] += 1; });
    return all;
  }

  // What failed differs from what it is measured by, too.
  const isSignificant = (own, module) => {
    if (state.base) { const all = tally(own, module); return all.b + all.w > 0; }
    return own.some((row) => {
      const it = row.figures[module];
      return ['w', 'b'].includes(it.sign) || (it.tried && !it.measured);
    });
  };

  // Markup. All text is set as text, never as markup.

  function element(name, attributes = {}, ...children) {
    const made = document.createElement(name);
    for (const [key, value] of Object.entries(attributes)) {
      if (key.startsWith('on')) made.addEventListener(key.slice(2), value);
      else if (value === true) made.setAttribute(key, '');
      else if (value !== false && value !== null && value !== undefined) made.setAttribute(key, value);
    }
    made.append(...children);
    return made;
  }

  function cell(line, module) {
    const { own } = line;
    const isWhole = (row) => { const it = row.figures[module]; return it.measured && !it.part; };
    const scored = own.filter((row) => row.weight > 0);
    const factor = mean(scored, module);
    // Of a metric the figure where it works: what is missing is told beside it, and by the colour.
    const works = line.mean ? null : mean(scored.filter(isWhole), module);
    const shown = works === null ? factor : works;
    const made = element('td');
    const value = line.single === undefined ? null : valueOf(line, module);
    if (!line.mean && !own.some((row) => row.figures[module].measured)) {
      const tried = own.some((row) => row.figures[module].tried);
      made.className = tried ? 'x' : 'none';
      made.append(tried ? link(line, module, '✗') : '–');
      if (state.base && came.pairs) compared(made, own, module);
      return made;
    }
    if (factor !== null) made.className = colour(factor);
    if (value) {
      made.append(link(line, module, value[0]));
      if (value[1]) made.append(element('br'), element('small', {}, value[1]));
      if (factor !== null) made.append(element('br'), element('b', {}, times(shown) + mark(line, module)));
    } else if (factor !== null) {
      made.append(link(line, module, times(shown) + mark(line, module)));
    } else if (!line.mean) {
      made.append('·');
    }
    const of = line.mean ? scored : own;
    const has = of.filter(isWhole).length;
    if (has < of.length) made.append(element('br'), element('s', {}, `${has}/${of.length}`));
    if (state.base && came.pairs) compared(made, own, module);
    return made;
  }

  function compared(made, own, module) {
    if (modules[module][0] === state.base) { made.className = 'base'; return; }
    const all = tally(own, module);
    if (!(all.b + all.w + all.a + all.q)) return;
    made.className = all.b && all.w ? 'mixed' : all.b ? 'better' : all.w ? 'worse' : '';
    const said = [['▲', all.b], ['▼', all.w], ['≈', all.a], ['?', all.q]].filter(([, count]) => count > 0);
    const text = own.length === 1 ? said.map(([mark]) => mark) : said.map(([mark, count]) => mark + count);
    made.append(element('br'), element('small', {}, text.join(' ')));
  }

  function link(line, module, text) {
    if (line.single === undefined) return text;
    const pages = came.values.get(line.single);
    return pages ? element('a', { href: `${pages.pages[module]}#${line.own[0].workload}` }, text) : text;
  }

  function valueOf(line, module) {
    const values = came.values.get(line.single);
    if (!values) return null;
    const text = values.rows[placeInScenario.get(line.own[0].at)][module + 1];
    return text === '' ? null : text.split('|');
  }

  // Lines of the table: means of groups, metrics over networks, and networks of those that are open.

  function linesNow() {
    const nets = new Set(chosen('net').map((it) => lists.net.indexOf(it)));
    const works = new Set(chosen('work'));
    const shown = rows.filter((row) => nets.has(row.scenario) && works.has(row.workload));
    const groups = [];
    questions.forEach(([name, asked], question) => {
      const all = shown.filter((row) => row.question === question);
      if (!all.length) return;
      const lines = [{ key: name, title: asked, own: all, mean: true }];
      const kinds = [...new Set(all.map((row) => `${row.workload}.${row.metric}`))];
      for (const key of kinds) {
        const own = all.filter((row) => `${row.workload}.${row.metric}` === key);
        const line = { key, title: own[0].workload, metric: own[0].metric, own };
        if (nets.size === 1) line.single = own[0].scenario;
        lines.push(line);
        if (nets.size > 1 && state.open.includes(key)) {
          own.forEach((row) => lines.push({
            key: `${key}.${scenarios[row.scenario][0]}`, title: scenarios[row.scenario][1], own: [row], single: row.scenario, sub: true,
          }));
        }
      }
      groups.push(lines);
    });
    return groups;
  }

  function columnsNow(groups) {
    const columns = chosen('vpn').map((it) => lists.vpn.indexOf(it)).sort((a, b) => a - b);
    const line = groups.flat().find((it) => it.key === state.sort);
    if (!line) return columns;
    const value = (module) => {
      const factor = mean(line.own.filter((row) => row.weight > 0), module);
      return factor === null ? Infinity : factor;
    };
    return columns.sort((a, b) => value(a) - value(b) || a - b);
  }

  // What metrics are, as the page has it before anything is drawn anew.
  const told = new Map([...table.querySelectorAll('th i a')].map((it) => [it.hash.slice(1), it.cloneNode(true)]));

  function heading(line, tag, scope) {
    const sorted = state.sort === line.key;
    const made = element('th', { scope, 'aria-sort': sorted ? 'ascending' : null });
    if (line.metric !== undefined && line.single === undefined) {
      const open = state.open.includes(line.key);
      const label = `${line.title} ${line.metric} by network`;
      made.append(element('button', {
        type: 'button', class: 'more', 'aria-expanded': String(open), 'aria-label': label, 'data-key': `more ${line.key}`,
        onclick: () => go({ open: open ? state.open.filter((it) => it !== line.key) : [...state.open, line.key] }),
      }, open ? '▾' : '▸'));
    }
    if (line.sub) {
      made.append(element('a', { href: scenarios[line.single][2] }, line.title));
      return made;
    }
    made.append(element('button', {
      type: 'button', title: 'Sort by this', 'data-key': `sort ${line.key}`, onclick: () => go({ sort: sorted ? '' : line.key }),
    }, line.title), ' ');
    if (line.metric !== undefined) made.append(element('i', {}, told.get(line.key)?.cloneNode(true) ?? line.metric));
    return made;
  }

  const named = (module, scope) => {
    const [, title, page] = modules[module];
    return element('th', { scope, class: modules[module][0] === state.base ? 'base' : null }, element('a', { href: page }, title));
  };

  function draw() {
    const groups = linesNow();
    const columns = columnsNow(groups);
    const kept = groups.map((lines) => lines.filter((line) => line.mean || !state.only || columns.some((it) => isSignificant(line.own, it))));
    const nets = chosen('net').length;
    const about = nets === 1 ? scenarios[lists.net.indexOf(chosen('net')[0])][1] : `Geometric mean over ${nets} networks`;
    // What had the focus has it again.
    const focus = document.activeElement && document.activeElement.dataset ? document.activeElement.dataset.key : undefined;
    table.querySelectorAll('thead, tbody').forEach((it) => it.remove());
    if (state.turn) {
      const all = kept.flat();
      table.append(element('thead', {}, element('tr', {}, element('th', { scope: 'col' }, about), ...all.map((line) => heading(line, 'th', 'col')))));
      table.append(element('tbody', {}, ...columns.map((it) => element('tr', {}, named(it, 'row'), ...all.map((line) => cell(line, it))))));
    } else {
      table.append(element('thead', {}, element('tr', {}, element('th', { scope: 'col' }, about), ...columns.map((it) => named(it, 'col')))));
      kept.forEach((lines) => table.append(element('tbody', {}, ...lines.map((line) => element(
        'tr', { class: line.mean ? 'group' : line.sub ? 'sub' : null }, heading(line, 'th', 'row'), ...columns.map((it) => cell(line, it)),
      )))));
    }
    if (focus) {
      const again = [...document.querySelectorAll('[data-key]')].find((it) => it.dataset.key === focus);
      if (again) again.focus();
    }
    const base = modules[lists.vpn.indexOf(state.base)];
    basis.textContent = base ? `Below each figure, next to ${base[1]}: ▲ better, ▼ worse, ≈ alike, ? undecided; `
      + 'with a number, in so many networks. Corrected among all rows of the two.' : '';
    document.getElementById('live').textContent = `${columns.length} VPNs, ${nets} networks`
      + `${state.sort ? `, sorted by ${state.sort}` : ''}${state.base ? `, compared with ${state.base}` : ''}`;
  }

  const basis = element('p', { class: 'note' });
  document.getElementById('legend').after(basis);

  // Controls.

  function boxes(name, title, entries) {
    const own = chosen(name);
    const set = (list) => go({ [name]: list.length === entries.length ? null : list });
    const box = ([key, label]) => element('label', {}, element('input', {
      type: 'checkbox', checked: own.includes(key), 'data-key': `${name} ${key}`,
      onchange: (event) => set(lists[name].filter((it) => (it === key ? event.target.checked : own.includes(it)))),
    }), ` ${label}`);
    const button = (text, list) => element('button', { type: 'button', 'data-key': `${name} ${text}`, 'aria-label': `${text} of ${title}`, onclick: () => set(list) }, text);
    return element('fieldset', {}, element('legend', {}, title), button('all', lists[name]), button('none', []), ...entries.map(box));
  }

  let folded = true;

  function drawControls() {
    const focus = document.activeElement && document.activeElement.dataset ? document.activeElement.dataset.key : undefined;
    const option = (value, text) => element('option', { value, selected: state.base === value }, text);
    const check = (key, text) => element('label', {}, element('input', {
      type: 'checkbox', checked: state[key], 'data-key': key, onchange: (event) => go({ [key]: event.target.checked }),
    }), ` ${text}`);
    const net = state.net && state.net.length === 1 ? state.net[0] : '';
    controls.replaceChildren(
      element('label', {}, 'Network ', element('select', { 'data-key': 'network', onchange: (event) => go({ net: event.target.value ? [event.target.value] : null }) },
        element('option', { value: '' }, state.net && !net ? 'chosen below' : 'all, geometric mean'),
        ...scenarios.map(([key, title]) => element('option', { value: key, selected: key === net }, title)))),
      element('label', {}, 'Compare with ', element('select', { 'data-key': 'base', onchange: (event) => go({ base: event.target.value }) },
        option('', 'the wire'), ...modules.map(([key, title]) => option(key, title)))),
      check('only', 'only significant'),
      check('turn', 'VPNs as rows'),
      element('button', { type: 'button', 'data-key': 'reset', onclick: () => { location.hash = 'table'; } }, 'Reset'),
      element('details', { open: !folded, ontoggle: (event) => { folded = !event.target.open; } },
        element('summary', {}, 'Choose VPNs, networks, workloads'),
        boxes('vpn', 'VPNs', modules), boxes('net', 'Networks', scenarios), boxes('work', 'Workloads', workloads.map((it) => [it, it]))),
    );
    controls.hidden = false;
    if (focus) {
      const again = [...controls.querySelectorAll('[data-key]')].find((it) => it.dataset.key === focus);
      if (again) again.focus();
    }
  }

  async function show() {
    state = read();
    drawControls();
    draw();
    document.querySelectorAll('.boards a[href*="index.html"]').forEach((it) => { it.hash = location.hash; });
    const wanted = new Set(linesNow().flat().map((line) => line.single).filter((it) => it !== undefined));
    const files = [...wanted].map((place) => need(`values/${scenarios[place][0]}.js`, () => came.values.has(place)));
    if (state.base) files.push(need('compare.js', () => came.pairs !== null));
    if (!files.length) return;
    try {
      await Promise.all(files);
      draw();
    } catch (error) {
      document.getElementById('live').textContent = error.message;
    }
  }

  // A reader's networks, in the table.
  document.querySelectorAll('a.into').forEach((it) => {
    it.hidden = false;
    it.addEventListener('click', () => document.getElementById('table').scrollIntoView());
  });
  addEventListener('hashchange', show);
  show();
})();
