package scrape

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"
	config_util "github.com/prometheus/common/config"
	"github.com/prometheus/common/model"
	promconfig "github.com/prometheus/prometheus/config"
	"github.com/prometheus/prometheus/discovery/targetgroup"
	"github.com/prometheus/prometheus/model/labels"
	"go.uber.org/zap"

	"github.com/envoy-scraper/envoy-scraper/internal/discovery"
	"github.com/envoy-scraper/envoy-scraper/internal/series"
	"github.com/envoy-scraper/envoy-scraper/internal/via"
)

// zstdFrame returns text as one frame of zstd.
func zstdFrame(text string, opts ...zstd.EOption) string {
	w, err := zstd.NewWriter(nil, opts...)
	if err != nil {
		panic(err)
	}
	return string(w.EncodeAll([]byte(text), nil))
}

// zstdStream returns text as Envoy sends it: in blocks, of a frame whose length is not known at its beginning.
func zstdStream(text string, window int) string {
	var b bytes.Buffer
	w, err := zstd.NewWriter(&b, zstd.WithWindowSize(window), zstd.WithEncoderCRC(false),
		zstd.WithEncoderConcurrency(1))
	if err != nil {
		panic(err)
	}
	for len(text) > 0 {
		n := min(len(text), 16<<10)
		_, _ = io.WriteString(w, text[:n])
		_ = w.Flush()
		text = text[n:]
	}
	_ = w.Close()
	return b.String()
}

func encodedResponse(encoding, body string) string {
	return fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Encoding: %s\r\n"+
		"Content-Length: %d\r\n\r\n%s", encoding, len(body), body)
}

// bothFetchers returns fetchers that differ only in the client that they use, and ask for encodings by place.
func bothFetchers() map[string]func(testing.TB) *fetcher {
	byPlace := func(f *fetcher) *fetcher {
		f.byPlace, f.guard.budget.zstd = true, newZstdMemory(defaultMaxMemory)
		return f
	}
	return map[string]func(testing.TB) *fetcher{
		"plain":    func(t testing.TB) *fetcher { return byPlace(plainFetcher(t)) },
		"net/http": func(t testing.TB) *fetcher { return byPlace(netHTTPFetcher(t)) },
	}
}

// acceptedEncoding returns the Accept-Encoding of the last request.
func (w *rawServer) acceptedEncoding() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	for line := range strings.Lines(w.received[len(w.received)-1]) {
		if value, ok := strings.CutPrefix(line, "Accept-Encoding: "); ok {
			return strings.TrimSpace(value)
		}
	}
	return ""
}

func TestEncodingDependsOnPlace(t *testing.T) {
	for name, c := range map[string]struct {
		want string
		set  func(f *fetcher, t *target)
	}{
		"elsewhere":              {"zstd, gzip;q=0.5", func(*fetcher, *target) {}},
		"on this node":           {"identity", func(_ *fetcher, t *target) { t.near = true }},
		"no memory for zstd":     {"gzip", func(f *fetcher, _ *target) { f.guard.budget.zstd = newZstdMemory(1) }},
		"zstd was bad":           {"gzip", func(_ *fetcher, t *target) { t.badZstd.Store(true) }},
		"silent":                 {"gzip", func(_ *fetcher, t *target) { t.silent.Store(true) }},
		"compression is written": {"gzip", func(f *fetcher, _ *target) { f.byPlace = false }},
		"no compression is written": {"identity", func(f *fetcher, _ *target) {
			f.byPlace, f.acceptEncoding = false, "identity"
		}},
		"written, on this node": {"gzip", func(f *fetcher, t *target) { f.byPlace, t.near = false, true }},
		"no limit of memory":    {"zstd, gzip;q=0.5", func(f *fetcher, _ *target) { f.guard.budget.zstd = nil }},
	} {
		for client, fetcherOf := range bothFetchers() {
			t.Run(name+" "+client, func(t *testing.T) {
				w := startRawServer(t, respond(okResponse))
				f, tg := fetcherOf(t), w.target()
				getOKPage(t, f, tg) // the second request is sent over a kept connection, which has a request already
				c.set(f, tg)
				getOKPage(t, f, tg)
				if got := w.acceptedEncoding(); got != c.want {
					t.Errorf("Accept-Encoding %q, want %q", got, c.want)
				}
				if z := f.guard.budget.zstd; z != nil && z.slots.held != 0 {
					t.Errorf("%d slots for zstd are held", z.slots.held)
				}
			})
		}
	}
}

// TestAKeptConnectionAsksForWhatItsTargetTakes: targets that follow each other at one address share a connection, which
// keeps the request.
func TestAKeptConnectionAsksForWhatItsTargetTakes(t *testing.T) {
	w, f := startRawServer(t, respond(okResponse)), bothFetchers()["plain"](t)
	for _, want := range []string{"gzip", "identity", zstdOrGzip, "gzip"} {
		tg := w.target()
		tg.near = want == "identity"
		tg.badZstd.Store(want == "gzip")
		getOKPage(t, f, tg)
		if got := w.acceptedEncoding(); got != want {
			t.Errorf("Accept-Encoding %q, want %q", got, want)
		}
	}
	if n := w.accepted.Load(); n != 1 {
		t.Errorf("%d connections, want one", n)
	}
}

// TestAPodThroughTheAPIServerIsElsewhere: its page leaves the node twice.
func TestAPodThroughTheAPIServerIsElsewhere(t *testing.T) {
	if tg := (&target{near: true, pod: &via.Pod{}}); tg.isNear() {
		t.Error("a pod that is read through the API server is near")
	}
	if tg := (&target{socket: "/run/envoy.sock"}); !tg.isNear() {
		t.Error("a Unix socket is not near")
	}
}

func TestASocketIsAskedByPlaceLikeItsJob(t *testing.T) {
	cfg := promconfig.DefaultScrapeConfig
	cfg.EnableCompression, cfg.MetricNameValidationScheme = true, model.UTF8Validation
	for byPlace, want := range map[bool]string{true: "identity", false: "gzip"} {
		f, err := newFetcher(&cfg, Options{}, false)
		if err != nil {
			t.Fatal(err)
		}
		f.byPlace = byPlace
		forSocket, err := f.sockets.get("/run/envoy.sock", f)
		if err != nil {
			t.Fatal(err)
		}
		if got := forSocket.encodingOf(&target{socket: "/run/envoy.sock"}, false); got != want {
			t.Errorf("by place: %v: %s, want %s", byPlace, got, want)
		}
		f.close()
	}
}

func TestTargetsOnThisNode(t *testing.T) {
	proxy := config_util.ProxyConfig{ProxyURL: config_util.URL{URL: &url.URL{Scheme: "http", Host: "proxy:3128"}}}
	at := func(address, podIP, node model.LabelValue) model.LabelSet {
		return model.LabelSet{"__address__": address, podIPLabel: podIP, nodeLabel: node}
	}
	direct := config_util.ProxyConfig{}
	for name, c := range map[string]struct {
		own    model.LabelSet
		onNode bool // discovery finds pods of this node only
		proxy  config_util.ProxyConfig
		want   bool
	}{
		"a job of this node":     {at("10.0.0.7:15090", "10.0.0.7", ""), true, direct, true},
		"IPv6":                   {at("[fd00::7]:15090", "fd00::7", ""), true, direct, true},
		"another address":        {at("10.9.9.9:15090", "10.0.0.7", ""), true, direct, false},
		"no pod":                 {at("10.0.0.7:15090", "", ""), true, direct, false},
		"through a proxy":        {at("10.0.0.7:15090", "10.0.0.7", ""), true, proxy, false},
		"a job of all nodes":     {at("10.0.0.7:15090", "10.0.0.7", ""), false, direct, false},
		"of this node, by label": {at("10.0.0.7:15090", "10.0.0.7", "node-a"), false, direct, true},
		"of another node":        {at("10.0.0.7:15090", "10.0.0.7", "node-b"), false, direct, false},
		"loopback":               {at("127.0.0.1:9901", "", ""), false, direct, true},
		"loopback, IPv6":         {at("[::1]:9901", "", ""), false, direct, true},
		"localhost":              {at("LOCALHOST:9901", "", ""), false, direct, true},
		"a name":                 {at("envoy.example:9901", "", ""), true, direct, false},
	} {
		t.Run(name, func(t *testing.T) {
			cfg := promconfig.DefaultScrapeConfig
			cfg.JobName, cfg.ScrapeInterval, cfg.ScrapeTimeout = "envoy", model.Duration(1e9), model.Duration(1e9)
			cfg.MetricNameValidationScheme = model.UTF8Validation
			cfg.HTTPClientConfig.ProxyConfig = c.proxy
			r := &relabeler{cfg: &cfg, onNode: c.onNode, node: "node-a",
				builder: labels.NewBuilder(labels.EmptyLabels()), scratch: model.LabelSet{}}
			made, targets := r.relabel(groupKey{}, &targetgroup.Group{Targets: []model.LabelSet{c.own}})
			if len(targets) != 1 || targets[0].isNear() != c.want {
				t.Errorf("targets %+v, invalid %+v, want near: %v", targets, made.invalid, c.want)
			}
		})
	}
}

func TestZstdPages(t *testing.T) {
	const text = "x 1\ny 2\n"
	whole := zstdFrame(text)
	flipped := []byte(whole)
	flipped[len(flipped)-1] ^= 1 // the checksum
	const tooLarge = "zstd: the page needs a window of more than 8 MiB"
	const skipped = "\x50\x2a\x4d\x18\x03\x00\x00\x00abc"
	long := strings.Repeat("envoy_cluster_upstream_rq_total{envoy_cluster_name=\"reviews\"} 1234\n", 100_000)
	for name, c := range map[string]struct {
		body, want, wantErr string
	}{
		"one frame":               {whole, text, ""},
		"in blocks":               {zstdStream(text, 2<<20), text, ""},
		"a long page":             {zstdStream(long, 2<<20), long, ""},
		"the largest window":      {zstdStream(long, maxZstdWindow), long, ""},
		"frames":                  {zstdFrame("x 1\n") + zstdFrame("y 2\n"), text, ""},
		"frames to skip":          {skipped + zstdFrame("x 1\n") + skipped + zstdFrame("y 2\n"), text, ""},
		"an empty page":           {zstdStream("", 2<<20) + zstdFrame("", zstd.WithZeroFrames(true)), "", ""},
		"no zstd at all":          {text, "", "zstd: invalid input: magic number mismatch"},
		"nothing":                 {"", "", "unexpected EOF"},
		"wrong checksum":          {string(flipped), "", "zstd: CRC check failed"},
		"garbage behind":          {whole + "garbage behind", text, "zstd: invalid input: magic number mismatch"},
		"a window that is larger": {"\x28\xb5\x2f\xfd\x00\xa8\x03\x00\x00\x41", "", tooLarge},
		"a length that is larger": {"\x28\xb5\x2f\xfd\xa0\xff\xff\xff\x7f\x01\x00\x00", "", tooLarge},
	} {
		for client, fetcherOf := range bothFetchers() {
			t.Run(name+" "+client, func(t *testing.T) {
				w := startRawServer(t, respond(encodedResponse("zstd", c.body)))
				f, tg := fetcherOf(t), w.target()
				got := getPage(t.Context(), f, tg)
				if got.body != c.want || !strings.Contains(got.err, c.wantErr) || c.wantErr == "" && got.err != "" {
					t.Errorf("page %.80q of %d bytes, error %q, want %q", got.body, len(got.body), got.err,
						c.wantErr)
				}
				if held := f.guard.budget.zstd.slots.held; held != 0 {
					t.Errorf("%d slots for zstd are held", held)
				}
				if next := f.encodingOf(tg, f.takeZstd(tg)); (next == "gzip") != (c.wantErr != "") {
					t.Errorf("the next request asks for %s", next)
				}
			})
		}
	}
}

// TestZstdCutOff cuts a page off after each byte. The scrape must fail each time.
func TestZstdCutOff(t *testing.T) {
	whole := zstdFrame("x 1\ny 2\n", zstd.WithEncoderCRC(false)) + zstdStream("z 3\n", 2<<20)
	first := len(zstdFrame("x 1\ny 2\n", zstd.WithEncoderCRC(false)))
	for n := range len(whole) {
		u, got := (*zstdMemory)(nil).reader(), new(bytes.Buffer)
		if err := u.reset(strings.NewReader(whole[:n])); err != nil {
			t.Fatal(err)
		}
		_, err := got.ReadFrom(u)
		if (err == nil) != (n == first) { // a page may end where a frame ends
			t.Errorf("after %d bytes: page %q, error %v", n, got, err)
		}
	}
}

// TestAPageThatBreaksOffIsNotBadZstd: the target is asked for zstd again.
func TestAPageThatBreaksOffIsNotBadZstd(t *testing.T) {
	for client, fetcherOf := range bothFetchers() {
		t.Run(client, func(t *testing.T) {
			response := encodedResponse("zstd", zstdFrame(strings.Repeat("x 1\n", 1000)))
			w := startRawServer(t, func(_ int, c *serverConn) {
				c.readRequest()
				c.send(response[:len(response)-3])
			})
			f, tg := fetcherOf(t), w.target()
			if got := getPage(t.Context(), f, tg); !strings.Contains(got.err, "unexpected EOF") {
				t.Errorf("page %q, error %q", got.body, got.err)
			}
			if tg.badZstd.Load() {
				t.Error("the target is asked for gzip from now on")
			}
		})
	}
}

// TestEncodingsThatNobodyAskedFor: as in Prometheus, such a page is read as text. If it is none, the error says why.
func TestEncodingsThatNobodyAskedFor(t *testing.T) {
	for encoding, want := range map[string]string{
		"br": `encoded as "br", which was not requested`, "deflate": `encoded as "deflate"`,
		"gzip, zstd": `encoded as "gzip, zstd"`, "zstd,br": `encoded as "zstd,br"`, "GZIP": `encoded as "GZIP"`,
		"zstd": errZstd.Error(), "x-other": "", "identity": "", "aws-chunked, x": "",
	} {
		for client, fetcherOf := range bothFetchers() {
			t.Run(encoding+" "+client, func(t *testing.T) {
				w := startRawServer(t, respond(encodedResponse(encoding, "x 1\n")))
				f, tg := fetcherOf(t), w.target()
				tg.near = true
				if encoding == "zstd" {
					if got := getPage(t.Context(), f, tg); !strings.Contains(got.err, want) {
						t.Errorf("error %q, want %q", got.err, want)
					}
					return
				}
				p, err := f.get(t.Context(), tg, "")
				if err != nil {
					t.Fatal(err)
				}
				defer p.close()
				text, err := io.ReadAll(p.body)
				if err != nil || string(text) != "x 1\n" {
					t.Errorf("page %q, error %v", text, err)
				}
				bad := p.explain(errBodyLimit)
				if !errors.Is(bad, errBodyLimit) || !strings.Contains(bad.Error(), want) ||
					want == "" && bad != errBodyLimit {
					t.Errorf("error %q, want %q", bad, want)
				}
			})
		}
	}
}

// zstdBomb returns a frame with the given number of blocks. Each block decompresses to 128 KiB of spaces.
func zstdBomb(window byte, blocks int) string {
	const size = 128 << 10
	block := size<<3 | 1<<1 // a block of one repeated byte
	return "\x28\xb5\x2f\xfd\x00" + string(window) +
		strings.Repeat(string([]byte{byte(block & 0xff), byte(block >> 8 & 0xff), byte(block >> 16), ' '}), blocks)
}

// largestWindow is the header byte for a window of 8 MiB.
const largestWindow = 13 << 3

func TestZstdBomb(t *testing.T) {
	for client, fetcherOf := range bothFetchers() {
		t.Run(client, func(t *testing.T) {
			w := startRawServer(t, respond(encodedResponse("zstd", zstdBomb(largestWindow, 10_000)))) // 1.2 GiB
			f, tg := fetcherOf(t), w.target()
			f.bodyLimit = 20 << 20
			before := allocated()
			p, err := f.get(t.Context(), tg, "")
			if err != nil {
				t.Fatal(err)
			}
			n, err := io.Copy(io.Discard, p.body)
			p.close()
			if !errors.Is(err, errBodyLimit) || n != f.bodyLimit {
				t.Errorf("%d bytes, error %v", n, err)
			}
			if took := allocated() - before; took > zstdPageBytes+pageBytes {
				t.Errorf("a page in zstd takes %d bytes of memory, want at most %d", took, zstdPageBytes+pageBytes)
			}
			if tg.badZstd.Load() {
				t.Error("a page that is too large is not bad zstd")
			}
		})
	}
}

func allocated() uint64 {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.TotalAlloc
}

// TestZstdMemoryIsShared: pages in zstd that hang in the middle hold all slots, and other scrapes ask for gzip.
func TestZstdMemoryIsShared(t *testing.T) {
	f := bothFetchers()["plain"](t)
	slots := f.guard.budget.zstd.slots.limit
	if slots != 7 {
		t.Errorf("%d pages in zstd at the same time, the documents say 7", slots)
	}
	response := encodedResponse("zstd", zstdFrame("x 1\n"))
	hanging := startRawServer(t, func(_ int, c *serverConn) {
		c.readRequest()
		c.send(response[:len(response)-1])
		c.wait()
	})
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan pageResult, slots)
	for range slots {
		go func() { ended <- getPage(ctx, f, hanging.target()) }()
	}
	eventually(t, "all slots are held", func() bool { return !f.guard.budget.zstd.take() || f.releaseOne() })
	other := startRawServer(t, respond(okResponse))
	getOKPage(t, f, other.target())
	if got := other.acceptedEncoding(); got != "gzip" {
		t.Errorf("Accept-Encoding %q, want gzip", got)
	}
	cancel()
	for range slots {
		<-ended
	}
	getOKPage(t, f, other.target())
	if got := other.acceptedEncoding(); got != zstdOrGzip {
		t.Errorf("Accept-Encoding %q, want %s", got, zstdOrGzip)
	}
}

// releaseOne gives back what take has taken, and returns false.
func (f *fetcher) releaseOne() bool {
	f.guard.budget.zstd.release()
	return false
}

func TestPreviewOfAZstdPage(t *testing.T) {
	var asked string
	ps, shown := previewed(t, func(w http.ResponseWriter, req *http.Request) {
		asked = req.Header.Get("Accept-Encoding")
		w.Header().Set("Content-Type", "text/plain")
		w.Header().Set("Content-Encoding", "zstd")
		_, _ = io.WriteString(w, zstdFrame("x 1\n"))
	})
	_, f := ps.running("envoy", shown)
	f.byPlace = true
	for l := range ps.jobs["envoy"].loops {
		ps.jobs["envoy"].loops[l].target.near = false // as if it were not on loopback
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	p, err := ps.Preview(ctx, "envoy", shown)
	if err != nil || string(p.Body) != "x 1\n" || asked != zstdOrGzip {
		t.Errorf("preview %+v, error %v, asked for %q", p, err, asked)
	}
	if held := ps.opts.budget.zstd.slots.held; held != 0 {
		t.Errorf("%d slots for zstd are held", held)
	}
}

// FuzzZstd reads arbitrary bytes as a page in zstd. The result is the same as that of the decoder which reads all at
// once; reading ends, and takes no more memory than a page may.
func FuzzZstd(f *testing.F) {
	whole := zstdFrame("x 1\ny 2\n")
	for _, seed := range []string{"", whole, whole[:7], whole + whole, whole + "x", zstdStream("x 1\n", 2<<20),
		zstdBomb(largestWindow, 300), zstdBomb(0, 3), "\x50\x2a\x4d\x18\x03\x00\x00\x00abc",
		"\x28\xb5\x2f\xfd\x00\xa8\x03\x00\x00\x41", "\x28\xb5\x2f\xfd\xa0\xff\xff\xff\x7f\x01\x00\x00"} {
		f.Add([]byte(seed))
	}
	const limit = 16 << 20
	all, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(maxZstdWindow),
		zstd.WithDecoderMaxMemory(2*limit)) // it takes the length that a header claims
	if err != nil {
		f.Fatal(err)
	}
	memory := newZstdMemory(defaultMaxMemory)
	f.Fuzz(func(t *testing.T, b []byte) {
		u, got := memory.reader(), new(bytes.Buffer)
		defer memory.put(u)
		err := u.reset(bytes.NewReader(b))
		if err == nil {
			_, err = got.ReadFrom(io.LimitReader(u, limit))
		}
		if got.Len() == limit {
			return
		}
		want, wantErr := all.DecodeAll(b, nil)
		switch {
		case errors.Is(wantErr, zstd.ErrDecoderSizeExceeded):
		case err == nil && (wantErr != nil || !bytes.Equal(got.Bytes(), want)):
			t.Errorf("page %q, want %q, error %v", got, want, wantErr)
		case err != nil && wantErr == nil && len(b) >= leastZstdBytes && !strings.Contains(err.Error(), "window"):
			t.Errorf("error %v, want %q", err, want)
		}
	})
}

// TestReloadOfEncodings: a reload that changes only how pages are encoded changes running targets, too.
func TestReloadOfEncodings(t *testing.T) {
	cfg := promconfig.DefaultScrapeConfig
	cfg.JobName, cfg.ScrapeProtocols = "envoy", promconfig.DefaultScrapeProtocols
	cfg.ScrapeInterval, cfg.ScrapeTimeout = model.Duration(1e9), model.Duration(1e9)
	cfg.MetricNameValidationScheme, cfg.MetricNameEscapingScheme = model.UTF8Validation, model.AllowUTF8
	cfg.EnableCompression = true
	byPlace, onNode := false, false
	ps := New(series.NewTable(), nil, Options{Encoding: EncodingOptions{
		ByPlace: func(string) bool { return byPlace }, OnNode: func(string) bool { return onNode },
	}}, zap.NewNop(), nil)
	for _, c := range []struct {
		byPlace, onNode bool
		want            string
	}{{false, false, "gzip"}, {true, false, zstdOrGzip}, {true, true, "identity"}, {false, true, "gzip"},
		{true, false, zstdOrGzip}} {
		byPlace, onNode = c.byPlace, c.onNode
		if err := ps.Apply([]*promconfig.ScrapeConfig{&cfg}); err != nil {
			t.Fatal(err)
		}
		ps.Update(map[string]discovery.Update{"envoy": {Whole: true, Groups: []discovery.Group{{
			Group: &targetgroup.Group{Source: "pod/shop/cart-0", Targets: []model.LabelSet{
				{model.AddressLabel: "10.0.0.7:15090", podIPLabel: "10.0.0.7"}}}}}}})
		tg, f := ps.running("envoy", "http://10.0.0.7:15090/metrics")
		if tg == nil {
			t.Fatal("the target does not run")
		}
		asks := f.takeZstd(tg)
		if got := f.encodingOf(tg, asks); got != c.want {
			t.Errorf("%+v: the target is asked for %s", c, got)
		}
		if asks {
			f.guard.budget.zstd.release()
		}
	}
}

func TestOnceReadsAZstdPage(t *testing.T) {
	w := startRawServer(t, respond(encodedResponse("zstd", zstdFrame("x 1\n"))))
	cfg := promconfig.DefaultScrapeConfig
	cfg.JobName, cfg.ScrapeProtocols = "envoy", promconfig.DefaultScrapeProtocols
	cfg.MetricNameValidationScheme, cfg.MetricNameEscapingScheme = model.UTF8Validation, model.AllowUTF8
	for byPlace, want := range map[bool]string{true: "", false: errZstd.Error()} {
		o := &Once{Job: &cfg, URL: &url.URL{Scheme: "http", Host: w.host}, Timeout: 10 * time.Second, ByPlace: byPlace}
		err := o.Run(t.Context())
		if want == "" && (err != nil || o.Body.String() != "x 1\n" || o.WireBytes != int64(len(zstdFrame("x 1\n")))) ||
			want != "" && (err == nil || err.Error() != want) {
			t.Errorf("by place: %v: page %q, %d bytes sent, error %v", byPlace, &o.Body, o.WireBytes, err)
		}
	}
}
