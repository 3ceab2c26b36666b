package web

import (
	"bytes"
	"cmp"
	"fmt"
	"image"
	"image/color"
	"image/png"
	"maps"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// maxScreenshotBytes keeps the repository small.
const maxScreenshotBytes = 100_000

// screenshots are the pages that docs/images shows, each in both themes: name.png and name-dark.png.
var screenshots = []struct {
	name, page    string
	width, height int
}{
	{"overview", "/", 1200, 1000},
	{"pods", "/pods", 1200, 1015},
	{"pod", "/pods?pod=shop/orders-6b8f9d7c5-k9r4w", 1200, 900},
	{"targets", "/targets", 1200, 760},
	{"service-discovery", "/service-discovery?state=dropped", 1200, 720},
	{"relabel-steps", "", 1200, 800}, // of one pod
	{"cost", "/cost", 1200, 1000},
	{"config", "/config", 1200, 420},
}

// screenshotFiles returns the file of each theme.
func screenshotFiles(name string) map[string]string {
	dir := filepath.Join("..", "..", "docs", "images")
	return map[string]string{"light": filepath.Join(dir, name+".png"), "dark": filepath.Join(dir, name+"-dark.png")}
}

// TestScreenshots writes docs/images, when `make screenshots` asks for it.
func TestScreenshots(t *testing.T) {
	chromium := os.Getenv("SCREENSHOTS_CHROMIUM")
	if chromium == "" {
		t.Skip("`make screenshots` sets SCREENSHOTS_CHROMIUM")
	}
	m := storyMesh(t)
	pages := httptest.NewServer(m.server(Config{}).http.Handler)
	defer pages.Close()
	for _, shot := range screenshots {
		address := shot.page
		if address == "" {
			address, _, _ = strings.Cut("/"+stepsLink("envoy-stats", m.pools[0].Targets[2].Discovered()), "#")
		}
		for theme, file := range screenshotFiles(shot.name) {
			to, err := url.Parse(pages.URL + address)
			if err != nil {
				t.Fatal(err)
			}
			q := to.Query()
			q.Set("theme", theme)
			to.RawQuery = q.Encode()
			cmd := exec.CommandContext(t.Context(), chromium, "--headless", "--no-sandbox", "--disable-gpu",
				"--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update",
				"--disable-sync", "--hide-scrollbars", "--user-data-dir="+t.TempDir(),
				fmt.Sprintf("--window-size=%d,%d", shot.width, shot.height), "--screenshot="+file, to.String())
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Fatalf("%s: %v\n%s", file, err, out)
			}
			if err := shrink(file); err != nil {
				t.Fatalf("%s: %v", file, err)
			}
		}
	}
}

// shrink writes a PNG again with its 256 most frequent colours. Pages have few colours; the others are edges of
// letters, which get the nearest one.
func shrink(file string) error {
	text, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	full, err := png.Decode(bytes.NewReader(text))
	if err != nil {
		return err
	}
	counts, box := map[color.RGBA]int{}, full.Bounds()
	at := func(x, y int) color.RGBA { return color.RGBAModel.Convert(full.At(x, y)).(color.RGBA) }
	for y := box.Min.Y; y < box.Max.Y; y++ {
		for x := box.Min.X; x < box.Max.X; x++ {
			counts[at(x, y)]++
		}
	}
	frequent := slices.SortedFunc(maps.Keys(counts), func(a, b color.RGBA) int {
		return cmp.Or(counts[b]-counts[a], cmp.Compare(a.R, b.R), cmp.Compare(a.G, b.G), cmp.Compare(a.B, b.B))
	})
	var palette color.Palette
	for _, c := range frequent[:min(256, len(frequent))] {
		palette = append(palette, c)
	}
	index := map[color.RGBA]uint8{}
	for c := range counts {
		index[c] = uint8(palette.Index(c))
	}
	small := image.NewPaletted(box, palette)
	for y := box.Min.Y; y < box.Max.Y; y++ {
		for x := box.Min.X; x < box.Max.X; x++ {
			small.SetColorIndex(x, y, index[at(x, y)])
		}
	}
	var out bytes.Buffer
	if err := (&png.Encoder{CompressionLevel: png.BestCompression}).Encode(&out, small); err != nil {
		return err
	}
	return os.WriteFile(file, out.Bytes(), 0o644)
}

// TestScreenshotsAreThere checks what is committed.
func TestScreenshotsAreThere(t *testing.T) {
	for _, shot := range screenshots {
		for _, file := range screenshotFiles(shot.name) {
			info, err := os.Stat(file)
			if err != nil {
				t.Errorf("%v (make screenshots writes it)", err)
			} else if info.Size() > maxScreenshotBytes {
				t.Errorf("%s has %d bytes, want at most %d", file, info.Size(), maxScreenshotBytes)
			}
		}
	}
}
