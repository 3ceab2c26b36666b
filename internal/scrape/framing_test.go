package scrape

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http/httputil"
	"slices"
	"strings"
	"testing"

	"github.com/envoy-scraper/envoy-scraper/internal/exposition"
)

// cutReader returns bytes in reads of random lengths, from 1 to most.
type cutReader struct {
	left []byte
	most int
	rand *rand.Rand
	err  error // at the end
}

func (c *cutReader) Read(p []byte) (int, error) {
	if len(c.left) == 0 {
		return 0, c.err
	}
	n := copy(p[:min(len(p), 1+c.rand.IntN(c.most))], c.left)
	c.left = c.left[n:]
	return n, nil
}

// TestPiecesOfChunks: a body that is taken apart in its buffer is the one that httputil reads, however it is cut into
// reads and chunks, and however much of it its reader keeps each time.
func TestPiecesOfChunks(t *testing.T) {
	for seed := range uint64(100) {
		r := rand.New(rand.NewPCG(seed, 1))
		var body, encoded bytes.Buffer
		for range r.IntN(40) {
			size := 1 + r.IntN(1<<r.IntN(14))
			chunk := make([]byte, size)
			for i := range chunk {
				chunk[i] = byte(r.Uint32())
			}
			body.Write(chunk)
			form := "%x\r\n"
			if seed%3 == 0 && r.IntN(20) == 0 {
				form = "%x;ext=1\r\n"
			}
			fmt.Fprintf(&encoded, form+"%s\r\n", size, chunk)
		}
		encoded.WriteString("0\r\n\r\nbehind")
		from := &cutReader{left: encoded.Bytes(), most: 1 << r.IntN(18), rand: r, err: io.EOF}
		in := inbuf{from: from, buf: make([]byte, 1<<(11+r.IntN(6)))}
		var f framedBody
		f.reset(&in, header{length: chunked})
		want, keep := body.Bytes(), 0 // want begins with the bytes that are kept
		for {
			least := 1 + r.IntN(1+keep)
			text, err := f.More(keep, least)
			if !bytes.HasPrefix(want, text) {
				t.Fatalf("seed %d: other bytes, %d before the end", seed, len(want))
			}
			if err == io.EOF && len(text) == len(want) {
				break
			}
			if err != nil || len(text) < keep+least {
				t.Fatalf("seed %d: %d bytes, want %d and %d; error %v", seed, len(text), keep, least, err)
			}
			keep = r.IntN(1 + min(len(text), 1<<r.IntN(17)))
			want = want[len(text)-keep:]
		}
		if behind := f.behind() + len(from.left); behind != len("behind") {
			t.Errorf("seed %d: %d bytes behind the body", seed, behind)
		}
	}
}

// FuzzChunks: of any bytes, framedBody reads what httputil reads, with the same error.
func FuzzChunks(f *testing.F) {
	for _, s := range []string{chunks("x 1\n", "y"), "4\r\nx 1\n\r\n0\r\n\r\n", "4;a=b\r\nx 1\n\r\n0\r\n\r\n",
		"04\nx 1\n\r\n0\r\n\r\n", "4 \r\nx 1\n\r\n", "zz\r\n", "fffffffffffffff\r\n", "ffffffffffffffffff\r\n",
		"4\rx", "\r\n", "1\r\nab\r\n", "0\r\n\n"} {
		f.Add([]byte(s), uint8(3))
	}
	f.Fuzz(func(t *testing.T, b []byte, most uint8) {
		from := bytes.NewReader(b)
		buffered := bufio.NewReader(from)
		want, wantErr := io.ReadAll(httputil.NewChunkedReader(buffered))
		if wantErr == nil { // httputil stops before the trailer: let it be empty
			read := len(b) - from.Len() - buffered.Buffered()
			b = append(bytes.Clone(b[:read]), "\r\n"...)
		}
		r := rand.New(rand.NewPCG(uint64(len(b)), 2))
		in := inbuf{from: &cutReader{left: b, most: 1 + int(most), rand: r, err: io.EOF}, buf: make([]byte, 2<<10)}
		var body framedBody
		body.reset(&in, header{length: chunked})
		got, gotErr := io.ReadAll(&body)
		if !bytes.Equal(got, want) || fmt.Sprint(gotErr) != fmt.Sprint(wantErr) {
			t.Errorf("%q, error %v; httputil %q, error %v", got, gotErr, want, wantErr)
		}
	})
}

// slowPieces are pieces of one byte. seen is what the lease had noted before each of them.
type slowPieces struct {
	lease *lease
	text  []byte
	seen  []int64
}

func (p *slowPieces) More(keep, _ int) ([]byte, error) {
	p.seen = append(p.seen, p.lease.read.Load())
	p.text = append(p.text[len(p.text)-keep:], 'x')
	return p.text, nil
}

// TestALongLineThatComesSlowlyDoesNotStall: its bytes are noted while More waits for the rest of it.
func TestALongLineThatComesSlowlyDoesNotStall(t *testing.T) {
	in := &slowPieces{lease: &lease{}}
	b := &limitedBody{pieces: in, lease: in.lease}
	if text, err := (*limitedPieces)(b).More(0, 4); string(text) != "xxxx" || err != nil {
		t.Fatalf("%q, %v", text, err)
	}
	if want := []int64{0, 1, 2, 3}; !slices.Equal(in.seen, want) {
		t.Errorf("noted %v, want %v", in.seen, want)
	}
}

// TestPiecesHaveTheLimit: body_size_limit cuts off the pieces of a page where it cuts off a reader.
func TestPiecesHaveTheLimit(t *testing.T) {
	w := startRawServer(t, respond("HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nTransfer-Encoding: chunked\r\n\r\n"+
		chunks("abcd", "efg", "hij")))
	for limit := range int64(13) {
		f := plainFetcher(t)
		f.bodyLimit = limit
		var got, want pageResult
		read := func(r *pageResult, all func(*page) ([]byte, error)) (n, wire int64) {
			p, err := f.get(t.Context(), w.target(), "")
			if err != nil {
				t.Fatal(err)
			}
			defer p.close()
			text, err := all(p)
			r.body, r.err = string(text), fmt.Sprint(err, p.body.err)
			return p.body.n, p.wireBytes()
		}
		wantN, wantWire := read(&want, func(p *page) ([]byte, error) { return io.ReadAll(p.body) })
		gotN, gotWire := read(&got, func(p *page) (all []byte, err error) {
			pieces := p.body.reader().(exposition.Pieces)
			for keep := 0; err == nil; {
				var text []byte
				text, err = pieces.More(keep, 1)
				all = append(all, text[keep:]...)
				keep = len(text) / 2
			}
			if err == io.EOF {
				err = nil
			}
			return all, err
		})
		if got != want || gotN != wantN || gotWire != wantWire {
			t.Errorf("limit %d: %q, %d and %d bytes; want %q, %d and %d",
				limit, got, gotN, gotWire, want, wantN, wantWire)
		}
	}
}

// TestLongRequests: a request that the socket does not take at once is sent whole, also over a kept connection.
func TestLongRequests(t *testing.T) {
	w := startRawServer(t, respond(okResponse))
	f, tg := plainFetcher(t), w.target()
	tg.url += "?" + strings.Repeat("a", 16<<20)
	getOKPage(t, f, tg)
	getOKPage(t, f, tg)
	if n := w.accepted.Load(); n != 1 || w.received[0] != w.received[1] || len(w.received[1]) < 16<<20 {
		t.Errorf("%d connections, want 1", n)
	}
}
