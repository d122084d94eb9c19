"use strict";
(() => {
  const specs = JSON.parse(document.getElementById("plots").textContent);
  const root = document.documentElement;
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const narrow = matchMedia("(max-width: 600px)");
  const config = {
    responsive: true,
    displaylogo: false,
    showSendToCloud: false, // data leave this page by no button
    plotlyServerURL: "",
    modeBarButtonsToRemove: ["select2d", "lasso2d", "autoScale2d"],
  };

  const colour = (name) => getComputedStyle(root).getPropertyValue(name).trim();

  // text, grid and background follow the page; the rest is the figure's own
  function dressed(layout) {
    const axis = (own) => ({
      gridcolor: colour("--rule"),
      linecolor: colour("--rule"),
      zeroline: false,
      automargin: true,
      fixedrange: matchMedia("(pointer: coarse)").matches,
      ...own,
      title: { standoff: 8, ...own.title },
    });
    return {
      autosize: true,
      margin: { l: 60, r: 16, t: 34, b: 50 },
      paper_bgcolor: "rgba(0,0,0,0)",
      plot_bgcolor: "rgba(0,0,0,0)",
      font: { color: colour("--text"), size: 13, family: getComputedStyle(document.body).fontFamily },
      legend: { orientation: "h", yref: "container", y: 0, yanchor: "bottom", x: 0 },
      modebar: {
        bgcolor: "rgba(0,0,0,0)",
        color: colour("--soft"),
        activecolor: colour("--text"),
      },
      hoverlabel: {
        align: "left",
        bgcolor: colour("--shade"),
        bordercolor: colour("--rule"),
        font: { color: colour("--text"), size: 13 },
      },
      ...layout,
      xaxis: axis(layout.xaxis),
      yaxis: axis(narrow.matches ? { ...layout.yaxis, ...layout.yaxis_narrow } : layout.yaxis),
    };
  }

  function draw() {
    for (const [id, spec] of Object.entries(specs)) {
      const { height } = spec.layout;
      if (height) document.getElementById(id).style.minHeight = `${height}px`;
      Plotly.react(id, spec.data, dressed(spec.layout), config);
    }
  }

  // one layer at a time, by a slider; on paper and without this script all stand in a row
  for (const example of document.querySelectorAll(".example")) {
    const slider = example.querySelector(".slider");
    const input = slider.querySelector("input");
    const output = slider.querySelector("output");
    const frames = [...example.querySelectorAll("li[data-first]")];
    const show = () => {
      const layer = Number(input.value);
      for (const frame of frames) {
        frame.hidden = layer < Number(frame.dataset.first) || layer > Number(frame.dataset.last);
      }
      output.textContent = input.value;
      const told = frames.filter((frame) => !frame.hidden).map((frame) => frame.innerText.trim());
      input.setAttribute("aria-valuetext", `layer ${layer}. ${told.join("; ")} visual tokens kept`);
    };
    example.classList.add("slides");
    slider.hidden = false;
    input.addEventListener("input", show);
    show();
  }

  draw();
  dark.addEventListener("change", draw);
  narrow.addEventListener("change", draw);
  addEventListener("beforeprint", () => { root.classList.add("on-paper"); draw(); });
  addEventListener("afterprint", () => { root.classList.remove("on-paper"); draw(); });
})();
