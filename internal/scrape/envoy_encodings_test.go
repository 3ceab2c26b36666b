//go:build linux

package scrape

import (
	"bytes"
	_ "embed"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"text/template"
	"time"
)

//go:embed testdata/envoy-encodings.yaml.tmpl
var envoyWithEncodings string

// encodingEnvoy is a running Envoy whose statistics page can be compressed.
type encodingEnvoy struct {
	pid    int
	target *target
}

// startEncodingEnvoy starts an Envoy with a number of clusters, for the time of the test. `make e2e` has the path of
// its binary in PUSHDOWN_ENVOY; without it the test is skipped.
func startEncodingEnvoy(t *testing.T, clusters int) *encodingEnvoy {
	t.Helper()
	path := os.Getenv("PUSHDOWN_ENVOY")
	if path == "" {
		if os.Getenv("E2E_NO_SKIP") == "1" {
			t.Fatal("NO REAL ENVOY: PUSHDOWN_ENVOY is empty")
		}
		t.Skip("SKIPPED: no real Envoy (PUSHDOWN_ENVOY=$(e2e/tools/envoy.sh))")
	}
	admin, stats := freeAddress(t), freeAddress(t)
	file := filepath.Join(t.TempDir(), "envoy.yaml")
	var text, log bytes.Buffer
	err := template.Must(template.New("bootstrap").Parse(envoyWithEncodings)).Execute(&text, map[string]any{
		"Admin": admin.Port, "Stats": stats.Port, "Clusters": make([]struct{}, clusters),
		"Compressors": map[string]string{"brotli": "Brotli", "gzip": "Gzip", "zstd": "Zstd"},
	})
	if err == nil {
		err = os.WriteFile(file, text.Bytes(), 0o600)
	}
	cmd := exec.Command(path, "--config-path", file, "--disable-hot-restart", "--concurrency", "1", "--log-level",
		"error")
	cmd.Stdout, cmd.Stderr = &log, &log
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	e := &encodingEnvoy{pid: cmd.Process.Pid, target: (&rawServer{host: stats.String()}).target()}
	f := netHTTPFetcher(t)
	f.acceptEncoding = "identity"
	eventually(t, "Envoy answers", func() bool { return getPage(t.Context(), f, e.target).err == "" })
	return e
}

func freeAddress(t *testing.T) *net.TCPAddr {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr)
}

// ask makes the next scrape ask for an encoding: identity, gzip or zstd, which Envoy must choose of zstdOrGzip.
func (e *encodingEnvoy) ask(encoding string) {
	e.target.near = encoding == "identity"
	e.target.badZstd.Store(encoding == "gzip")
}

// TestRealEnvoyEncodings reads pages of a real Envoy in all encodings that a scrape asks for. With ENCODINGS=1 it
// measures what they cost.
func TestRealEnvoyEncodings(t *testing.T) {
	e := startEncodingEnvoy(t, 10)
	for client, fetcherOf := range bothFetchers() {
		f := fetcherOf(t)
		var plain []string
		for _, encoding := range []string{"identity", "gzip", "zstd", "gzip", "identity", "zstd"} {
			e.ask(encoding)
			p, err := f.get(t.Context(), e.target, "")
			if err != nil {
				t.Fatal(err)
			}
			text, err := io.ReadAll(p.body)
			sent := p.wireBytes()
			var in string
			switch p.decoder.(type) {
			case nil:
				in = "identity"
			case *unzipper:
				in = "gzip"
			case *unzstd:
				in = "zstd"
			}
			p.close()
			if err != nil || in != encoding || (sent*5 > int64(len(text))) != (encoding == "identity") {
				t.Fatalf("%s: %s as %s, %d bytes of %d, error %v", client, encoding, in, sent, len(text), err)
			}
			if plain == nil {
				plain = seriesIn(string(text))
			}
			if got := seriesIn(string(text)); !slices.Equal(got, plain) {
				t.Errorf("%s: the page in %s has %d series, the first one %d", client, encoding, len(got), len(plain))
			}
		}
	}
	if os.Getenv("ENCODINGS") == "1" {
		for _, c := range []struct{ clusters, pages int }{{10, 300}, {160, 40}} {
			startEncodingEnvoy(t, c.clusters).measure(t, c.pages)
		}
	}
}

// seriesIn returns the series of a page without their values.
func seriesIn(page string) (all []string) {
	for line := range strings.Lines(page) {
		if at := strings.LastIndexByte(line, ' '); at > 0 && line[0] != '#' {
			all = append(all, line[:at])
		}
	}
	return all
}

// costOfPage is what a page costs.
type costOfPage struct {
	envoy, scraper time.Duration // CPU
	sent, lines    int
}

// measure logs what a page costs in each encoding: CPU of Envoy's process and of this one, which reads and decompresses
// the page but does not parse it. The encodings take turns; of each the median of five turns counts. There is no
// decoder for brotli, so its pages are only read.
func (e *encodingEnvoy) measure(t *testing.T, pages int) {
	t.Helper()
	f := bothFetchers()["plain"](t)
	const turns = 5
	costs := map[string][]costOfPage{}
	encodings := []string{"identity", "gzip", "brotli", "zstd"}
	for range turns {
		for _, encoding := range encodings {
			read := func() (sent, lines int) { return e.readPage(t, f, encoding) }
			if encoding == "brotli" {
				read = func() (sent, lines int) { return e.readBrotli(t), 0 }
			}
			read()
			var c costOfPage
			envoy, scraper := e.cpu(t), cpuTime()
			for range pages {
				c.sent, c.lines = read()
			}
			c.envoy = (e.cpu(t) - envoy) / time.Duration(pages)
			c.scraper = (cpuTime() - scraper) / time.Duration(pages)
			costs[encoding] = append(costs[encoding], c)
		}
	}
	median := func(encoding string, of func(costOfPage) int) float64 {
		var all []int
		for _, c := range costs[encoding] {
			all = append(all, of(c))
		}
		slices.Sort(all)
		return float64(all[turns/2])
	}
	t.Logf("%d lines, %d pages a turn", costs["zstd"][0].lines, pages)
	t.Log("| encoding | bytes sent | Envoy ms | scraper ms |")
	for _, encoding := range encodings {
		t.Logf("| %s | %.0f | %.2f | %.2f |", encoding, median(encoding, func(c costOfPage) int { return c.sent }),
			median(encoding, func(c costOfPage) int { return int(c.envoy) })/1e6,
			median(encoding, func(c costOfPage) int { return int(c.scraper) })/1e6)
	}
}

// readPage reads a page as a scrape does.
func (e *encodingEnvoy) readPage(t *testing.T, f *fetcher, encoding string) (sent, lines int) {
	t.Helper()
	e.ask(encoding)
	p, err := f.get(t.Context(), e.target, "")
	if err != nil {
		t.Fatal(err)
	}
	defer p.close()
	buf := make([]byte, 64<<10)
	for err == nil {
		var n int
		n, err = p.body.Read(buf)
		lines += bytes.Count(buf[:n], []byte("\n"))
	}
	if err != io.EOF {
		t.Fatal(err)
	}
	return int(p.wireBytes()), lines
}

func (e *encodingEnvoy) readBrotli(t *testing.T) (sent int) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, e.target.url, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Accept-Encoding", "br")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	n, err := io.Copy(io.Discard, resp.Body)
	if err != nil || resp.Header.Get("Content-Encoding") != "br" {
		t.Fatalf("encoding %q, error %v", resp.Header.Get("Content-Encoding"), err)
	}
	return int(n)
}

// cpu returns how long the threads of Envoy have run.
func (e *encodingEnvoy) cpu(t *testing.T) (total time.Duration) {
	t.Helper()
	files, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/schedstat", e.pid))
	if err != nil || len(files) == 0 {
		t.Fatal("no threads of Envoy: ", err)
	}
	for _, file := range files {
		b, err := os.ReadFile(file)
		if err != nil {
			continue // the thread has ended
		}
		running, _, _ := strings.Cut(string(b), " ")
		n, err := strconv.ParseInt(running, 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		total += time.Duration(n)
	}
	return total
}
