package graphs

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/envoy-scraper/envoy-scraper/e2e/browser"
)

// maxScreenshotBytes keeps the repository small.
const maxScreenshotBytes = 100_000

// tab selects the tabs of vmui's page, one for each dashboard.
const tab = ".vm-predefined-panels-tabs__tab"

// shown is a panel as the browser shows it.
type shown struct {
	Title  string
	Lines  int    // in the legend
	Pixels int    // of the canvas that have the colour of a line
	Error  string // what vmui says in the panel
}

// look scrolls to the panel %d, waits until it has a legend and a line, and counts the pixels that are neither grey nor
// transparent. The grid, the axes and their numbers are grey.
const look = `(async (which) => {
  const coloured = (canvas) => {
    if (!canvas) return 0;
    const data = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data;
    let n = 0;
    for (let i = 0; i < data.length; i += 4) {
      const colour = [data[i], data[i + 1], data[i + 2]];
      if (data[i + 3] > 128 && Math.max(...colour) - Math.min(...colour) > 40) n++;
    }
    return n;
  };
  const panel = document.querySelectorAll(".vm-predefined-panel")[which];
  panel.scrollIntoView({block: "center"});
  let pixels = 0;
  for (let i = 0; i < 200 && !(pixels && panel.querySelector(".vm-legend-item")); i++) {
    await new Promise(done => setTimeout(done, 100));
    pixels = coloured(panel.querySelector("canvas"));
  }
  return {
    Title: panel.querySelector("h3").textContent.trim(),
    Lines: panel.querySelectorAll(".vm-legend-item").length,
    Pixels: pixels,
    Error: [...panel.querySelectorAll(".vm-alert_error")].map(a => a.textContent).join(" "),
  };
})(%d)`

// testChromium opens the page in a real browser. Each dashboard must be there, and its panels must have lines.
// DEMO_SCREENSHOT may name a file for the picture of README, for which the lines get longer first.
func testChromium(t *testing.T, w *world) {
	picture := os.Getenv("DEMO_SCREENSHOT")
	if picture != "" {
		w.await(t, 6*time.Minute, `count_over_time(envoy_scraper_build_info[5m]) >= 58`)
	}
	want, err := Dashboards(t.Context(), w.prometheus, w.folders)
	if err != nil {
		t.Fatal(err)
	}
	b := browser.Start(t)
	for i, d := range want {
		t.Run(d.Title, func(t *testing.T) {
			page := b.Open(t)
			page.Go(strings.TrimSuffix(w.page, "&refresh=10s")) // so that nothing changes while it is looked at
			page.Until("a tab for each dashboard",
				fmt.Sprintf("document.querySelectorAll(%q).length === %d", tab, len(want)))
			page.Do(browser.Click(fmt.Sprintf("%s:nth-child(%d)", tab, i+1)))
			if isWorkload := strings.Contains(d.Title, "orkload"); !isWorkload {
				testTab(t, page, d, 4)
				return
			}
			// What the mesh's documentation tells its readers to open.
			testTab(t, page, d, len(d.Rows[0].Panels))
			if picture != "" {
				screenshot(t, page, picture)
				picture = ""
			}
		})
	}
}

// testTab checks a dashboard. Its first row is unfolded, and the first most panels of it are looked at.
func testTab(t *testing.T, page *browser.Page, d Dashboard, most int) {
	page.Until("the dashboard", fmt.Sprintf("document.querySelector('%s_active').textContent === %q", tab, d.Title))
	panels := d.Rows[0].Panels
	page.Until("its panels",
		fmt.Sprintf("document.querySelectorAll('.vm-predefined-panel').length === %d", len(panels)))
	for i, want := range panels[:min(most, len(panels))] {
		got := browser.Eval[shown](page, fmt.Sprintf(look, i))
		if got.Title != want.Title || got.Lines == 0 || got.Pixels < 20 || got.Error != "" {
			t.Errorf("panel %d, %q: %+v", i, want.Title, got)
		}
		t.Logf("%+v", got)
	}
}

// screenshot writes what the first panels look like.
func screenshot(t *testing.T, page *browser.Page, file string) {
	t.Helper()
	page.Do(browser.Viewport(1800, 780, 0.5), browser.Script("window.scrollTo(0, 0)"))
	browser.Eval[shown](page, fmt.Sprintf(look, 0)) // wait until it is redrawn for the larger window
	page.Do(browser.Script("window.scrollTo(0, 0)"))
	page.Until("nothing more to load", "!document.querySelector('.vm-spinner')")
	picture := page.Picture()
	if len(picture) > maxScreenshotBytes {
		t.Errorf("the picture has %d bytes, want at most %d", len(picture), maxScreenshotBytes)
	}
	if err := os.WriteFile(file, picture, 0o644); err != nil {
		t.Fatal(err)
	}
}
