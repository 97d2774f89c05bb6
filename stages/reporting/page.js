(function () {
  "use strict";
  var form = document.querySelector(".filter");
  if (!form) return;
  var videos = Array.from(document.querySelectorAll("article.video"));
  var said = form.querySelector("output");
  function words(video) {
    return Array.from(video.querySelectorAll(".name, .class"), function (e) {
      return e.textContent.toLowerCase();
    }).join("\n");
  }
  function filter() {
    var text = form.elements.text.value.trim().toLowerCase();
    var alarms = form.elements.alarms.checked;
    var shown = 0;
    videos.forEach(function (video) {
      var fits = words(video).includes(text) && (!alarms || video.dataset.detected !== "0");
      video.hidden = !fits;
      shown += fits ? 1 : 0;
    });
    said.textContent = shown === videos.length ? "" : shown + " of " + videos.length;
  }
  form.hidden = false;
  form.addEventListener("input", filter);
  form.addEventListener("submit", function (event) { event.preventDefault(); });
})();
