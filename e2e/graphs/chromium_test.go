package graphs

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
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

// panels scrolls to the first %d panels of the page, waits until each has a legend and a line, and counts the pixels
// that are neither grey nor transparent. The grid, the axes and their numbers are grey.
const panels = `(async (most) => {
  const pause = () => new Promise(done => setTimeout(done, 100));
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
  const all = [];
  for (const panel of [...document.querySelectorAll(".vm-predefined-panel")].slice(0, most)) {
    panel.scrollIntoView({block: "center"});
    let pixels = 0;
    for (let i = 0; i < 150 && !(pixels && panel.querySelector(".vm-legend-item")); i++) {
      await pause();
      pixels = coloured(panel.querySelector("canvas"));
    }
    all.push({
      Title: panel.querySelector("h3").textContent.trim(),
      Lines: panel.querySelectorAll(".vm-legend-item").length,
      Pixels: pixels,
      Error: [...panel.querySelectorAll(".vm-alert_error")].map(a => a.textContent).join(" "),
    });
  }
  window.scrollTo(0, 0);
  return all;
})(%d)`

// testChromium opens the page in a real browser and checks that each dashboard is there and that its panels have lines.
func testChromium(t *testing.T, w *world) {
	want, err := Dashboards(t.Context(), w.prometheus, w.folders)
	if err != nil {
		t.Fatal(err)
	}
	ctx := newBrowser(t)
	if err := chromedp.Run(ctx, chromedp.Navigate(w.page), chromedp.WaitVisible(tab, chromedp.ByQuery)); err != nil {
		t.Fatal(err)
	}
	var tabs []string
	text := `[...document.querySelectorAll("` + tab + `")].map(t => t.textContent)`
	if err := chromedp.Run(ctx, chromedp.Evaluate(text, &tabs)); err != nil {
		t.Fatal(err)
	}
	if len(tabs) != len(want) {
		t.Fatalf("tabs %q, want %d", tabs, len(want))
	}
	for i, d := range want {
		if tabs[i] != d.Title {
			t.Errorf("tab %d is %q, want %q", i, tabs[i], d.Title)
		}
		t.Run(d.Title, func(t *testing.T) { testTab(ctx, t, i, d) })
	}
}

// testTab opens a tab. Its first row is unfolded.
func testTab(ctx context.Context, t *testing.T, i int, d Dashboard) {
	most := 4
	if strings.Contains(d.Title, "Workload") { // the dashboard that the mesh's documentation tells its readers to open
		most = len(d.Rows[0].Panels)
	}
	var got []shown
	if err := chromedp.Run(ctx,
		chromedp.Click(fmt.Sprintf("%s:nth-child(%d)", tab, i+1), chromedp.ByQuery),
		chromedp.WaitVisible(".vm-predefined-panel", chromedp.ByQuery),
		evaluate(fmt.Sprintf(panels, most), &got),
	); err != nil {
		t.Fatal(err)
	}
	if len(got) != min(most, len(d.Rows[0].Panels)) {
		t.Errorf("%d panels, want %d", len(got), most)
	}
	for k, p := range got {
		if p.Title != d.Rows[0].Panels[k].Title || p.Lines == 0 || p.Pixels < 20 || p.Error != "" {
			t.Errorf("panel %d, %q: %+v", k, d.Rows[0].Panels[k].Title, p)
		}
	}
	t.Logf("%d panels: %+v", len(got), got)
	if strings.Contains(d.Title, "Workload") {
		screenshot(ctx, t)
	}
}

// screenshot takes the picture of the README if DEMO_SCREENSHOT names a file.
func screenshot(ctx context.Context, t *testing.T) {
	t.Helper()
	file := os.Getenv("DEMO_SCREENSHOT")
	if file == "" {
		return
	}
	var picture []byte
	if err := chromedp.Run(ctx, chromedp.CaptureScreenshot(&picture)); err != nil {
		t.Fatal(err)
	}
	if len(picture) > maxScreenshotBytes {
		t.Errorf("the picture has %d bytes, want at most %d", len(picture), maxScreenshotBytes)
	}
	if err := os.WriteFile(file, picture, 0o644); err != nil {
		t.Fatal(err)
	}
}

// newBrowser starts Chromium with an empty profile, for one test. It asks nobody but the page.
func newBrowser(t *testing.T) context.Context {
	t.Helper()
	var path string
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome"} {
		if found, err := exec.LookPath(name); err == nil {
			path = found
			break
		}
	}
	switch {
	case path != "":
	case os.Getenv("E2E_NO_SKIP") == "1":
		t.Fatal("no Chromium here")
	default:
		t.Skip("SKIPPED: no Chromium here")
	}
	ctx, stop := chromedp.NewExecAllocator(t.Context(),
		chromedp.ExecPath(path), chromedp.UserDataDir(t.TempDir()), chromedp.WindowSize(1280, 860),
		chromedp.Headless, chromedp.NoSandbox, chromedp.DisableGPU, chromedp.NoFirstRun,
		chromedp.Flag("disable-quic", true), chromedp.Flag("disable-background-networking", true),
		chromedp.Flag("disable-component-update", true), chromedp.Flag("disable-sync", true))
	t.Cleanup(stop)
	ctx, cancel := chromedp.NewContext(ctx, chromedp.WithErrorf(func(string, ...any) {}))
	t.Cleanup(cancel) // waits until the browser is gone; the errors not shown are events that chromedp does not know
	ctx, cancel = context.WithTimeout(ctx, 4*time.Minute)
	t.Cleanup(cancel)
	return ctx
}

// evaluate runs a script that returns a promise.
func evaluate(script string, result any) chromedp.Action {
	return chromedp.Evaluate(script, result, func(p *runtime.EvaluateParams) *runtime.EvaluateParams {
		return p.WithAwaitPromise(true)
	})
}
