package web

import (
	"bytes"
	"cmp"
	"fmt"
	"image"
	"image/color"
	"image/png"
	"maps"
	"math"
	"math/rand/v2"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/prometheus/model/labels"

	"github.com/envoy-scraper/envoy-scraper/internal/discovery"
	"github.com/envoy-scraper/envoy-scraper/internal/history"
	"github.com/envoy-scraper/envoy-scraper/internal/remotewrite"
	"github.com/envoy-scraper/envoy-scraper/internal/scrape"
)

// maxScreenshotBytes keeps the repository small.
const maxScreenshotBytes = 100_000

// screenshots are the pages that docs/images shows, each in both themes: name.png and name-dark.png.
var screenshots = []struct {
	name, page    string
	width, height int
}{
	{"overview", "/", 1200, 1000},
	{"targets", "/targets", 1200, 760},
	{"service-discovery", "/service-discovery?state=dropped", 1200, 720},
	{"relabel-steps", "", 1200, 800}, // of one pod
	{"config", "/config", 1200, 420},
}

// screenshotFiles returns the file of each theme.
func screenshotFiles(name string) map[string]string {
	dir := filepath.Join("..", "..", "docs", "images")
	return map[string]string{"light": filepath.Join(dir, name+".png"), "dark": filepath.Join(dir, name+"-dark.png")}
}

// storyMesh is what the screenshots show: one pod is down, some pods were dropped, and one receiver is behind.
func storyMesh(t *testing.T) *fakeMesh {
	const job, port = "envoy-stats", "http-envoy-prom"
	m := newFakeMesh(t)
	m.flags, m.lines = nil, storyLines()
	m.loaded = Loaded{At: fakeNow.Add(-26 * time.Hour)}
	m.providers = []discovery.ProviderStatus{{
		Job: job, Kind: "kubernetes", Detail: "pod", Server: "https://10.96.0.1:443", State: discovery.StateOK,
		Reachable: true, Synced: true, Groups: 15, Targets: 16, LastUpdate: fakeNow.Add(-40 * time.Second),
	}}
	m.endpoints = []remotewrite.EndpointStatus{
		{
			Name: "main", URL: "http://prometheus.monitoring:9090/api/v1/write", Protocol: "2.0", Lanes: 1,
			LastSuccess: fakeNow.Add(-800 * time.Millisecond),
		},
		{
			Name: "long-term", URL: "https://metrics.example.com/api/v1/push", Protocol: "1.0", Lanes: 4,
			PendingSamples: 184_320, PendingBytes: 3 << 20, OldestPending: fakeNow.Add(-95 * time.Second),
			LastSuccess: fakeNow.Add(-96 * time.Second), Unreachable: true, PendingLimit: 1 << 30,
			FullIn:        9 * time.Hour,
			LastError:     `Post "https://metrics.example.com/api/v1/push": dial tcp: connection refused`,
			LastErrorTime: fakeNow.Add(-4 * time.Second),
		},
	}
	n := 0
	address := func() string { n++; return fmt.Sprintf("10.0.%d.%d:15090", n/9, 4+7*(n%9)) }
	for _, app := range []string{"cart", "catalog", "checkout", "payments"} {
		for i := range 3 {
			health := scrape.HealthUp
			if app == "payments" && i == 2 {
				health = scrape.HealthDown
			}
			m.discover(job, health, storyPod(job, "shop", fmt.Sprintf("%s-7d9c5-%d", app, i), app, address(), port))
		}
	}
	m.discover(job, scrape.HealthUp, storyPod(job, "istio-system", "istio-ingressgateway-5f6b8-0",
		"istio-ingressgateway", address(), port))
	m.discover(job, "", pod(job, "shop", "nightly-report-28", "10.0.2.8:15090", port, "__meta_kubernetes_pod_phase",
		"Succeeded"))
	m.discover(job, "", pod(job, "shop", "cart-7d9c5-0", "10.0.0.11:8080", "http",
		"__meta_kubernetes_pod_container_name", "cart",
		"__meta_kubernetes_pod_container_port_number", "8080"))
	m.discover(job, "", pod(job, "kube-system", "coredns-6f4c-0", "10.0.2.9:53", "dns",
		"__meta_kubernetes_pod_container_name", "coredns",
		"__meta_kubernetes_pod_container_port_number", "53"))
	return m
}

func storyPod(job, namespace, name, app, address, port string) labels.Labels {
	return pod(job, namespace, name, address, port, "__meta_kubernetes_pod_label_app", app)
}

// storyLines are an hour in which a receiver goes down two minutes before its end, and a pod before that.
func storyLines() []history.Line {
	shapes := map[history.Quantity]func(x float64) float64{
		history.Samples:      func(x float64) float64 { return 1740 + 60*math.Sin(9*x) - 140*step(x, .8) },
		history.BytesRead:    func(x float64) float64 { return 312e3 + 9e3*math.Sin(9*x) - 26e3*step(x, .8) },
		history.BytesWritten: func(x float64) float64 { return 47e3 + 1500*math.Sin(9*x) - 21e3*step(x, .97) },
		history.Backlog:      func(x float64) float64 { return 900 + 184_320*max(0, x-.97)/.03 },
		history.Failures:     func(x float64) float64 { return 4 * step(x, .8) },
		history.Duration:     func(x float64) float64 { return .012 + .002*math.Sin(7*x) },
	}
	noise := rand.New(rand.NewPCG(1, 2))
	var lines []history.Line
	for _, l := range history.New(nil).Lines() {
		for i := range history.Points {
			v := shapes[l.Quantity](float64(i) / (history.Points - 1))
			l.Values = append(l.Values, v*(.985+.03*noise.Float64()))
		}
		lines = append(lines, l)
	}
	return lines
}

func step(x, at float64) float64 {
	if x < at {
		return 0
	}
	return 1
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
