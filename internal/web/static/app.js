// The pages work without this script. It adds keys and a refresh that waits while somebody reads.
'use strict';

(() => {
  const find = (selector) => document.querySelector(selector);
  const findAll = (selector) => [...document.querySelectorAll(selector)];
  const focused = () => document.activeElement;
  const inField = () => focused()?.matches('input, select, textarea') ?? false;

  // Folds that the page itself opened. The reader opened the others.
  let openAtFirst = new Set();
  const notePage = () => { openAtFirst = new Set(findAll('details[open]')); };
  const openedByReader = () => findAll('details[open]').filter((fold) => !openAtFirst.has(fold));
  const closedByReader = () => [...openAtFirst].filter((fold) => fold.isConnected && !fold.open);

  // ---- Refresh -------------------------------------------------------------------------------------------------

  const say = (text) => {
    const status = find('#refreshing');
    if (status && status.textContent !== text) status.textContent = text;
  };

  // pausedBecause says why the page must not change now; empty: it may.
  const pausedBecause = () => {
    if (document.hidden) return 'the page is hidden';
    if (!getSelection().isCollapsed) return 'text is selected';
    if (inField()) return 'a field has the focus';
    if (find('main').contains(focused()) && focused() !== find('main')) return 'a row or link has the focus';
    if (openedByReader().length > 0) return 'a fold is open';
    if (closedByReader().length > 0) return 'a fold was closed';
    return '';
  };

  // renew loads the page again and replaces its content, without moving what the reader sees.
  const renew = async () => {
    const response = await fetch(location.href, {
      headers: { Accept: 'text/html' }, signal: AbortSignal.timeout(20000),
    });
    const page = new DOMParser().parseFromString(await response.text(), 'text/html');
    const main = page.querySelector('main');
    if (!response.ok || !main) throw new Error(`status ${response.status}`);
    if (pausedBecause()) return; // it was read meanwhile
    find('main').replaceWith(main);
    document.title = page.title;
    notePage();
  };

  const refreshEvery = (seconds) => {
    let due = Date.now() + seconds * 1000;
    let failed = '';
    let busy = false;
    setInterval(async () => {
      const why = pausedBecause();
      say(why ? `paused: ${why}` : failed);
      if (why || busy || Date.now() < due) return;
      busy = true;
      try {
        await renew();
        failed = '';
      } catch {
        failed ||= `no answer since ${new Date().toLocaleTimeString()}`;
      }
      due = Date.now() + seconds * 1000;
      busy = false;
    }, 500);
  };

  // ---- Keys ----------------------------------------------------------------------------------------------------

  const rows = () => findAll('table.rows > tbody > tr');

  const moveBy = (step) => {
    const all = rows();
    const at = all.indexOf(focused()?.closest('tr'));
    const row = all[at < 0 ? (step > 0 ? 0 : all.length - 1) : at + step];
    if (!row) return;
    row.tabIndex = -1;
    row.focus();
  };

  // openRow follows the row's link, or unfolds the row.
  const openRow = (row) => {
    const fold = row.querySelector('details');
    const link = row.querySelector('a.open');
    if (link) link.click();
    else if (fold) fold.open = true;
  };

  const close = () => {
    const fold = openedByReader().pop();
    if (inField()) focused().blur();
    else if (fold) fold.open = false;
    else if (find('a.close')) find('a.close').click();
    else focused()?.blur();
  };

  const search = () => {
    const field = find('input[type=search]');
    field?.focus();
    field?.select();
  };

  const showKeys = () => {
    const keys = find('#keys');
    keys.open = true;
    keys.querySelector('summary').focus();
  };

  let afterG = 0; // until when a key is the second one after g
  const onKey = (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.isComposing) return;
    if (event.key === 'Escape') return close();
    if (inField()) return;
    const page = event.timeStamp < afterG && find(`header nav a[data-key="${CSS.escape(event.key)}"]`);
    afterG = event.key === 'g' && !page ? event.timeStamp + 1500 : 0;
    const row = focused()?.matches('tr') ? focused() : null;
    if (page) page.click();
    else if (event.key === '/') search();
    else if (event.key === 'j') moveBy(1);
    else if (event.key === 'k') moveBy(-1);
    else if (event.key === '?') showKeys();
    else if (event.key === 'Enter' && row) openRow(row);
    else return;
    event.preventDefault();
  };

  // ---- Start ---------------------------------------------------------------------------------------------------

  notePage();
  document.addEventListener('keydown', onKey);
  find('#keys').hidden = false;
  // An address without empty parameters is easier to read.
  document.addEventListener('formdata', ({ formData }) => {
    for (const [name, value] of [...formData]) if (!value) formData.delete(name);
  });
  const seconds = Number(document.body.dataset.refresh);
  if (seconds > 0) refreshEvery(seconds);
})();
