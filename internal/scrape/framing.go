package scrape

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"math"
	"net/http"
	"net/http/httputil"
	"strings"
)

// framedBody hands out the body after a header that parseHeader parsed: chunks, or a known number of bytes. It takes
// the chunks apart where they lie in the buffer. httputil does that for chunks whose size has another form than
// "4000\r\n".
type framedBody struct {
	in      *inbuf
	chunked bool
	left    int64  // bytes of the body, or of the chunk, that were not taken
	inChunk bool   // the chunk's end comes before the next size
	unread  []byte // of what More returned to Read

	odd     *bufio.Reader // httputil reads the rest of the body from it, and in from httputil; nil: it does not
	trailed bool          // a trailer followed the last chunk
}

func (f *framedBody) reset(in *inbuf, h header) {
	*f = framedBody{in: in, left: h.length}
	if h.length == chunked {
		f.chunked, f.left = true, 0
	}
}

// More implements exposition.Pieces.
func (f *framedBody) More(keep, least int) ([]byte, error) {
	in := f.in
	in.start = in.end - keep
	for got := 0; got < least; {
		if f.left == 0 {
			if err := f.nextChunk(); err != nil {
				return in.text(), err
			}
		}
		if in.next == in.filled {
			if err := in.fill(); err != nil {
				return in.text(), f.endedBy(err)
			}
		}
		n := int(min(f.left, int64(in.filled-in.next)))
		in.join(n)
		f.left -= int64(n)
		got += n
	}
	return in.text(), nil
}

// Read implements io.Reader, for those that do not call More.
func (f *framedBody) Read(p []byte) (n int, err error) {
	if len(f.unread) == 0 {
		f.unread, err = f.More(0, 1)
	}
	n = copy(p, f.unread)
	f.unread = f.unread[n:]
	return n, err
}

// endedBy returns the error of a body that could not be read further.
func (f *framedBody) endedBy(err error) error {
	switch {
	case err != io.EOF:
		return err
	case f.odd != nil:
		return f.oddTrailer()
	default:
		return io.ErrUnexpectedEOF
	}
}

// nextChunk finds the next chunk. It returns io.EOF if the body is at its end.
func (f *framedBody) nextChunk() error {
	if !f.chunked {
		return io.EOF
	}
	if f.inChunk {
		ok, err := f.take("\r\n")
		if err != nil {
			return f.endedBy(err)
		}
		if !ok {
			return errors.New("malformed chunked encoding")
		}
		f.inChunk = false
	}
	for {
		size, n := parseChunkSize(f.in.unseen())
		switch {
		case n == incomplete:
			if err := f.in.fill(); err != nil {
				return f.endedBy(err)
			}
			continue
		case n == odd:
			f.leaveToHTTPUtil()
			return nil
		}
		f.in.next += n
		if f.left = size; size == 0 {
			return f.readTrailer()
		}
		f.inChunk = true
		return nil
	}
}

// take takes what comes next if that is s. Otherwise it returns false and takes nothing.
func (f *framedBody) take(s string) (ok bool, err error) {
	for len(f.in.unseen()) < len(s) {
		if err := f.in.fill(); err != nil {
			return false, err
		}
	}
	if ok = string(f.in.unseen()[:len(s)]) == s; ok {
		f.in.next += len(s)
	}
	return ok, nil
}

// maxChunkDigits is how many digits a chunk's size may have here. No page needs as many.
const maxChunkDigits = 15

// Results of parseChunkSize that are no length.
const (
	incomplete = 0  // the line goes on behind the bytes
	odd        = -1 // the line has another form
)

// parseChunkSize parses the line of a chunk's size, such as "4000\r\n", and returns its length n.
func parseChunkSize(b []byte) (size int64, n int) {
	for i, c := range b {
		switch {
		case i > maxChunkDigits:
			return 0, odd
		case c >= '0' && c <= '9':
			size = size<<4 | int64(c-'0')
		case c >= 'a' && c <= 'f':
			size = size<<4 | int64(c-'a'+10)
		case c >= 'A' && c <= 'F':
			size = size<<4 | int64(c-'A'+10)
		case c == '\r' && i > 0 && i+1 == len(b):
			return 0, incomplete
		case c == '\r' && i > 0 && b[i+1] == '\n':
			return size, i + 2
		default:
			return 0, odd
		}
	}
	return 0, incomplete
}

// leaveToHTTPUtil lets httputil read the rest of the body, which begins with the size of a chunk.
func (f *framedBody) leaveToHTTPUtil() {
	in := f.in
	f.odd = bufio.NewReader(io.MultiReader(bytes.NewReader(bytes.Clone(in.unseen())), in.from))
	in.from = httputil.NewChunkedReader(f.odd)
	in.next, in.filled = in.end, in.end
	f.chunked, f.left = false, math.MaxInt64
}

// readTrailer reads the trailer after the last chunk and returns io.EOF if it is valid. Usually the trailer is an empty
// line.
func (f *framedBody) readTrailer() error {
	if ok, err := f.take("\r\n"); ok && err == nil {
		return io.EOF
	}
	f.odd = bufio.NewReader(f.in)
	return f.oddTrailer()
}

// oddTrailer reads a trailer that is not an empty line, or comes from odd. net/http parses it, after a made-up header.
func (f *framedBody) oddTrailer() error {
	if end, _ := f.odd.Peek(2); string(end) == "\r\n" {
		_, _ = f.odd.Discard(2)
		return io.EOF
	}
	f.trailed = true
	const madeUp = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n"
	resp, err := http.ReadResponse(bufio.NewReader(io.MultiReader(strings.NewReader(madeUp), f.odd)), nil)
	if err != nil {
		return err
	}
	_, err = resp.Body.Read(make([]byte, 1))
	return err
}

// behind returns how many bytes were read that follow the body.
func (f *framedBody) behind() int {
	n := f.in.filled - f.in.next
	if f.odd != nil {
		n += f.odd.Buffered()
	}
	return n
}
