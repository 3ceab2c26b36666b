package scrape

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
	"sync"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"github.com/prometheus/common/model"

	"github.com/envoy-scraper/envoy-scraper/internal/exposition"
)

// zstdOrGzip is an Accept-Encoding that asks for zstd, for gzip where the target has no zstd, and for an uncompressed
// page otherwise. Envoy chooses the highest q. Without q, a setting of the target (choose_first) could prefer gzip.
const zstdOrGzip = "zstd, gzip;q=0.5"

// How much memory pages in zstd may take. Envoy's windows have 2 MiB, up to level 8 of zstd; level 19 has 8 MiB, which
// is also the most that RFC 9659 allows. A decoder holds a window, two blocks and tables.
const (
	maxZstdWindow   = 8 << 20
	zstdPageBytes   = maxZstdWindow + 1<<20
	zstdMemoryShare = 4 // a quarter of the memory for pages
)

// errZstd says that the response is compressed with zstd, but the request did not ask for that.
var errZstd = errors.New("received a zstd-compressed response, which was not requested")

// encodingError is the error of a page with a content encoding that no scrape asks for. As in Prometheus such a page is
// read as text, which it may be in spite of the header.
type encodingError struct {
	encoding string
	error
}

func (e *encodingError) Unwrap() error { return e.error }
func (e *encodingError) Error() string {
	return fmt.Sprintf("%v; the page is encoded as %q, which was not requested", e.error,
		truncate(e.encoding, maxQuoted))
}

// explain adds the encoding of the page to an error of its text.
func (p *page) explain(err error) error {
	if err == nil || p.unknown == "" {
		return err
	}
	return &encodingError{p.unknown, err}
}

// EncodingOptions say how targets are asked to encode their pages.
type EncodingOptions struct {
	// ByPlace reports for which jobs it depends on where the target is: compressed from elsewhere, not compressed on
	// this node. Other jobs are as enable_compression says. nil: no job.
	ByPlace func(job string) bool
	// OnNode reports which jobs find the pods of this node only. nil: none, or the node is not known.
	OnNode func(job string) bool
	// Node is the name of this node; empty: not known.
	Node string
}

func (o EncodingOptions) isByPlace(job string) bool { return o.ByPlace != nil && o.ByPlace(job) }

func (o EncodingOptions) isOnNode(job string) bool { return o.OnNode != nil && o.OnNode(job) }

// nodeLabel is the node of a pod. Discovery keeps it if rules read it.
const nodeLabel = model.MetaLabelPrefix + "kubernetes_pod_node_name"

// isNear reports whether the page of a target comes to this process without leaving the node: from a loopback address,
// or from the address of a pod that is on this node.
func (r *relabeler) isNear(hostPort string, own, group model.LabelSet) bool {
	host, _, err := net.SplitHostPort(hostPort)
	if err != nil || r.cfg.HTTPClientConfig.ProxyURL.URL != nil || r.cfg.HTTPClientConfig.ProxyFromEnvironment {
		return false
	}
	if ip, _ := netip.ParseAddr(host); ip.IsLoopback() || host == "localhost" {
		return true
	}
	return (r.onNode || r.node != "" && valueOf(nodeLabel, own, group) == r.node) && host == podIP(own, group)
}

// encodingOf returns the Accept-Encoding of a request for a target's page. withZstd says that it may ask for zstd.
func (f *fetcher) encodingOf(t *target, withZstd bool) string {
	switch {
	case !f.byPlace:
		return f.acceptEncoding
	case t.isNear():
		return exposition.AcceptEncoding(false)
	case withZstd:
		return zstdOrGzip
	}
	return exposition.AcceptEncoding(true)
}

// isNear reports whether the page comes to this process without leaving the node. Compressing it would cost both ends
// CPU and save nothing.
func (t *target) isNear() bool { return t.pod == nil && (t.near || t.socket != "") }

// takeZstd decides whether a request asks for zstd. It does not if pages in zstd have no memory left, if the target was
// silent the last time and would only hold memory, or if an earlier page of the target could not be read as zstd: then
// it asks for gzip. If it asks for zstd, putDecoder gives the memory back.
func (f *fetcher) takeZstd(t *target) bool {
	return f.byPlace && !t.isNear() && !t.badZstd.Load() && !t.silent.Load() && f.guard.budget.zstd.take()
}

// decompress returns what reads the page of a response with a content encoding.
func (f *fetcher) decompress(p *page, encoding string, body io.Reader) (io.Reader, error) {
	switch encoding {
	case "gzip":
		p.decoder = f.unzipper()
	case "zstd":
		if p.zstdOf == nil {
			return nil, errZstd
		}
		p.decoder = f.guard.budget.zstd.reader()
	default:
		if isCompressed(encoding) {
			p.unknown = encoding
		}
		return body, nil
	}
	return p.decoder, p.decoder.reset(body) // the decoder counts what it reads
}

// isCompressed reports whether an encoding, or one of several in a list, is a compression.
func isCompressed(encoding string) bool {
	for one := range strings.SplitSeq(strings.ToLower(encoding), ",") {
		switch strings.TrimSpace(one) {
		case "br", "compress", "deflate", "gzip", "x-compress", "x-gzip", "zstd":
			return true
		}
	}
	return false
}

// putDecoder keeps a decoder for other pages. asked is the target whose request asked for zstd; nil: none.
func (f *fetcher) putDecoder(d decoder, asked *target) {
	switch d := d.(type) {
	case *unzipper:
		f.unzippers.Put(d)
	case *unzstd:
		if d.bad {
			asked.badZstd.Store(true)
		}
		f.guard.budget.zstd.put(d)
	}
	if asked != nil {
		f.guard.budget.zstd.release()
	}
}

// decoder reads a compressed page. It is reused for many pages.
type decoder interface {
	io.Reader
	reset(body io.Reader) error
	sentBytes() int64 // bytes read so far, as they were sent
}

// countingReader counts the bytes that are read from r, and keeps its error.
type countingReader struct {
	r   io.Reader
	n   int64
	err error
}

// Read implements io.Reader.
func (c *countingReader) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n += int64(n)
	if err != nil {
		c.err = err
	}
	return n, err
}

// unzipper decompresses gzip. It holds 40 KB of tables.
type unzipper struct {
	sent countingReader
	in   *bufio.Reader
	gzip.Reader
}

func (f *fetcher) unzipper() *unzipper {
	if u, ok := f.unzippers.Get().(*unzipper); ok {
		return u
	}
	return &unzipper{in: bufio.NewReader(nil)}
}

func (u *unzipper) reset(body io.Reader) error {
	u.sent = countingReader{r: body}
	u.in.Reset(&u.sent)
	return u.Reset(u.in)
}

func (u *unzipper) sentBytes() int64 { return u.sent.n }

// unzstd decompresses zstd. It holds a window, which has 2 MiB for a page of Envoy.
type unzstd struct {
	sent    countingReader
	decoder *zstd.Decoder
	n       int64 // bytes of the page
	bad     bool  // the page arrived, but it is no zstd that can be read
}

// leastZstdBytes is the length of a frame without content: magic number, header, and an empty block.
const leastZstdBytes = 9

func (u *unzstd) reset(body io.Reader) error {
	u.sent, u.n, u.bad = countingReader{r: body}, 0, false
	return u.decoder.Reset(&u.sent)
}

// Read implements io.Reader.
func (u *unzstd) Read(p []byte) (int, error) {
	n, err := u.decoder.Read(p)
	u.n += int64(n)
	if err == io.EOF && u.n == 0 && u.sent.n < leastZstdBytes {
		err = io.ErrUnexpectedEOF // the decoder takes a body without a byte for an empty page
	}
	if err == nil || err == io.EOF {
		return n, err
	}
	if u.sent.err != nil && u.sent.err != io.EOF { // the page could not be fetched
		return n, err
	}
	u.bad = true
	if errors.Is(err, zstd.ErrWindowSizeExceeded) || errors.Is(err, zstd.ErrDecoderSizeExceeded) {
		return n, fmt.Errorf("zstd: the page needs a window of more than %d MiB", maxZstdWindow>>20)
	}
	return n, fmt.Errorf("zstd: %w", err)
}

func (u *unzstd) sentBytes() int64 { return u.sent.n }

// zstdMemory limits how many scrapes may ask for zstd at the same time, so that the windows of hostile pages stay
// within the memory for pages. Scrapes beyond it do not wait: they ask for gzip. Safe for concurrent use. A nil
// zstdMemory limits nothing.
type zstdMemory struct {
	slots    *semaphore
	decoders sync.Pool // of *unzstd
}

// newZstdMemory returns the memory for pages in zstd, which is a part of maxMemory.
func newZstdMemory(maxMemory int64) *zstdMemory {
	return &zstdMemory{slots: newSemaphore(zstdPages(maxMemory))}
}

// zstdPages returns how many pages in zstd may be read concurrently.
func zstdPages(maxMemory int64) int { return int(min(maxMemory/zstdMemoryShare/zstdPageBytes, 1<<20)) }

func (m *zstdMemory) take() bool { return m == nil || m.slots.tryAcquire() }

func (m *zstdMemory) release() {
	if m != nil {
		m.slots.release()
	}
}

func (m *zstdMemory) reader() *unzstd {
	if m != nil {
		if u, ok := m.decoders.Get().(*unzstd); ok {
			return u
		}
	}
	// Of a page that is read piece by piece, WithDecoderMaxMemory limits the window.
	d, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(maxZstdWindow),
		zstd.WithDecodeBuffersBelow(0))
	if err != nil {
		panic(err) // of options that are constant
	}
	return &unzstd{decoder: d}
}

func (m *zstdMemory) put(u *unzstd) {
	_ = u.decoder.Reset(nil)
	u.sent = countingReader{}
	if m != nil {
		m.decoders.Put(u)
	}
}
