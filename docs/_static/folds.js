// A solution asks once whether you have tried, and remembers the answer in this browser. Without scripts it is a fold.
const KEY = "cnnlab-solutions-seen";
const seen = new Set(JSON.parse(read() || "[]"));

function read() {
  try { return localStorage.getItem(KEY); } catch { return null; }  // a browser may forbid it
}

function remember(exercise) {
  seen.add(exercise);
  try { localStorage.setItem(KEY, JSON.stringify([...seen])); } catch { /* it asks again next time */ }
}

function ask(fold) {
  const summary = fold.querySelector("summary");
  const answer = document.createElement("div");
  answer.append(...[...fold.childNodes].filter(node => node !== summary));
  answer.hidden = true;
  const question = document.createElement("div");
  question.className = "ask";
  question.innerHTML = "<p>Have you tried it yourself, and looked at the hints? This is asked once.</p>" +
    "<button type='button' class='yes'>Show the solution</button> <button type='button' class='no'>Not yet</button>";
  question.querySelector(".yes").addEventListener("click", () => {
    remember(fold.dataset.exercise);
    question.remove();
    answer.hidden = false;
    measure();
    summary.focus();
  });
  question.querySelector(".no").addEventListener("click", () => { fold.open = false; summary.focus(); });
  fold.append(question, answer);
}

// The theme lets code that is too wide be scrolled by keyboard; it looks for such code when the window changes.
function measure() {
  window.dispatchEvent(new Event("resize"));
}

for (const fold of document.querySelectorAll("details")) fold.addEventListener("toggle", measure);
for (const fold of document.querySelectorAll("details.solution"))
  if (!seen.has(fold.dataset.exercise)) ask(fold);
