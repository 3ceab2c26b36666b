package scrape

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http/httputil"
	"testing"
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
		var got []byte // what was given up
		keep := 0
		for {
			least := 1 + r.IntN(1+keep)
			text, err := f.More(keep, least)
			if !bytes.Equal(append(bytes.Clone(got), text...), body.Bytes()[:len(got)+len(text)]) {
				t.Fatalf("seed %d: other bytes after %d", seed, len(got))
			}
			if err == io.EOF {
				got = append(got, text...)
				break
			}
			if err != nil || len(text) < keep+least {
				t.Fatalf("seed %d: %d bytes, want %d and %d; error %v", seed, len(text), keep, least, err)
			}
			keep = r.IntN(1 + min(len(text), 1<<r.IntN(17)))
			got = append(got, text[:len(text)-keep]...)
		}
		if !bytes.Equal(got, body.Bytes()) {
			t.Fatalf("seed %d: %d bytes, want %d", seed, len(got), body.Len())
		}
		if behind := f.behind() + len(from.left); behind != len("behind") {
			t.Errorf("seed %d: %d bytes behind the body", seed, behind)
		}
	}
}

// FuzzChunks: of any bytes, framedBody reads what httputil reads, with the same error.
func FuzzChunks(f *testing.F) {
	for _, s := range []string{chunks("x 1\n", "y"), "4\r\nx 1\n\r\n0\r\n\r\n", "4;a=b\r\nx 1\n\r\n0\r\n\r\n",
		"04\nx 1\n\r\n0\r\n\r\n", "4 \r\nx 1\n\r\n", "zz\r\n", "fffffffffffffff\r\n", "ffffffffffffffffff\r\n", "4\rx", "\r\n", "1\r\nab\r\n", "0\r\n\n"} {
		f.Add([]byte(s), uint8(3))
	}
	f.Fuzz(func(t *testing.T, b []byte, most uint8) {
		r := rand.New(rand.NewPCG(uint64(len(b)), 2))
		in := inbuf{from: &cutReader{left: b, most: 1 + int(most), rand: r, err: io.EOF}, buf: make([]byte, 2<<10)}
		var body framedBody
		body.reset(&in, header{length: chunked})
		got, gotErr := io.ReadAll(&body)
		want, wantErr := io.ReadAll(httputil.NewChunkedReader(bufio.NewReader(bytes.NewReader(b))))
		if body.trailed || wantErr == nil && gotErr != nil { // of the trailer, which httputil does not read
			gotErr = nil
		}
		if !bytes.Equal(got, want) || fmt.Sprint(gotErr) != fmt.Sprint(wantErr) {
			t.Errorf("%q, error %v; httputil %q, error %v", got, gotErr, want, wantErr)
		}
	})
}
