package exposition

import (
	"io"
	"sync"
)

// Pieces is a body that hands out its bytes where they lie, without a copy.
type Pieces interface {
	// More returns the last keep bytes of what it returned before, and at least least new bytes behind them. They may
	// be changed and are valid until the next call. With an error there may be fewer new bytes. It is io.EOF at the
	// end of the body.
	More(keep, least int) ([]byte, error)
}

// chunkBytes is how much of a page is read at a time if its body has no pieces.
const chunkBytes = 32 << 10

// copier is the pieces of a reader, in a buffer of its own.
type copier struct {
	from io.Reader
	buf  []byte
	n    int // bytes in buf
}

var copiers = sync.Pool{New: func() any { return &copier{buf: make([]byte, chunkBytes)} }}

func copierOf(from io.Reader) *copier {
	c := copiers.Get().(*copier)
	c.from, c.n = from, 0
	return c
}

// close keeps a copier for the next page, unless a long line made its buffer grow.
func (c *copier) close() {
	c.from = nil
	if len(c.buf) == chunkBytes {
		copiers.Put(c)
	}
}

// More implements Pieces. A long line makes the buffer grow.
func (c *copier) More(keep, least int) ([]byte, error) {
	rest := c.buf[c.n-keep : c.n]
	if keep > len(c.buf)/2 {
		c.buf = make([]byte, 2*len(c.buf))
	}
	c.n = copy(c.buf, rest)
	n, err := readAtLeast(c.from, c.buf[c.n:], least)
	c.n += n
	return c.buf[:c.n], err
}

// readAtLeast is io.ReadAtLeast, except that the end of the body is always io.EOF, however much was read before it.
func readAtLeast(body io.Reader, buf []byte, least int) (n int, err error) {
	for n < least && err == nil {
		var read int
		read, err = body.Read(buf[n:])
		n += read
	}
	return n, err
}

// pieceReader reads pieces. unread is what More returned last, and err what came with it.
type pieceReader struct {
	in     Pieces
	unread []byte
	err    error
}

// Read implements io.Reader.
func (p *pieceReader) Read(b []byte) (n int, err error) {
	if len(p.unread) == 0 && p.err == nil {
		p.unread, p.err = p.in.More(0, 1)
	}
	n = copy(b, p.unread)
	if p.unread = p.unread[n:]; len(p.unread) > 0 {
		return n, nil
	}
	return n, p.err
}
