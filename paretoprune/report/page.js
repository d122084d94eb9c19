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
      Plotly.react(id, fitting(spec.data, document.getElementById(id)), dressed(spec.layout), config);
    }
  }

  // numbers that are wider than their cell are left to the hover box and the table
  function fitting(data, plot) {
    return data.map((trace) => {
      const room = (plot.clientWidth - 150) / (trace.x || [0]).length;
      return trace.texttemplate && room < 26 ? { ...trace, texttemplate: "" } : trace;
    });
  }

  // arrow keys walk from point to point: left and right in a line, up and down between lines
  const parser = new DOMParser();
  function withKeys(id) {
    const plot = document.getElementById(id);
    const spokenText = document.createElement("p");
    spokenText.className = "unseen-text";
    spokenText.setAttribute("aria-live", "polite");
    plot.after(spokenText);
    plot.tabIndex = 0;
    plot.setAttribute("role", "application");
    plot.setAttribute("aria-roledescription", "plot, read with the arrow keys");
    const lines = specs[id].data.flatMap((trace, curve) => {
      if (trace.hoverinfo === "skip" || !trace.hovertext) return [];
      if (trace.type === "heatmap") {
        return trace.z.map((row, y) => row.map((_, x) => ({
          at: { curveNumber: curve, pointNumber: [y, x] }, text: trace.hovertext[y][x],
        })));
      }
      return [trace.x.map((_, point) => ({
        at: { curveNumber: curve, pointNumber: point }, text: trace.hovertext[point],
      }))];
    });
    let [line, place] = [0, -1];
    const steps = { ArrowRight: [0, 1], ArrowLeft: [0, -1], ArrowUp: [1, 0], ArrowDown: [-1, 0] };
    plot.addEventListener("keydown", (event) => {
      if (event.key === "Escape") {
        Plotly.Fx.unhover(plot);
        spokenText.textContent = "";
        return;
      }
      const step = steps[event.key];
      if (!step || !lines.length) return;
      event.preventDefault();
      line = Math.min(Math.max(line + step[0], 0), lines.length - 1);
      place = Math.min(Math.max(place + step[1], 0), lines[line].length - 1);
      const { at, text } = lines[line][place];
      Plotly.Fx.hover(plot, [at]);
      spokenText.textContent = parser.parseFromString(text.replaceAll("<br>", "; "), "text/html").body.textContent;
    });
    plot.addEventListener("blur", () => Plotly.Fx.unhover(plot));
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
      const captions = frames.filter((frame) => !frame.hidden).map((frame) => frame.innerText.trim());
      input.setAttribute("aria-valuetext", `layer ${layer}. ${captions.join("; ")} visual tokens kept`);
    };
    example.classList.add("slides");
    slider.hidden = false;
    input.addEventListener("input", show);
    show();
  }

  draw();
  Object.keys(specs).forEach(withKeys);
  dark.addEventListener("change", draw);
  narrow.addEventListener("change", draw);
  addEventListener("beforeprint", () => { root.classList.add("on-paper"); draw(); });
  addEventListener("afterprint", () => { root.classList.remove("on-paper"); draw(); });
})();
