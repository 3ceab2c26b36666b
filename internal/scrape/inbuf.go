package scrape

import "io"

// inbuf holds bytes of a response: text of the body that its reader was given last, or still wants, and bytes behind it
// that nobody has looked at. An example of a chunked page, whose next chunk begins in the middle of a line:
//
//	istio_requests_total{a="b"} 1\nistio_requ | \r\n4000\r\n | ests_total{a="c"} 2\n ... | free
//	^start                                    ^end                                       ^filled
//	                                          ^next
//
// join gives the reader the next chunk with the beginning of the line before it.
//
// Invariant: 0 <= start <= end <= next <= filled <= len(buf).
type inbuf struct {
	from       io.Reader
	buf        []byte
	start, end int // of the text
	next       int // the first byte that nobody has looked at
	filled     int
}

func (in *inbuf) text() []byte { return in.buf[in.start:in.end] }

// unseen returns the bytes that nobody has looked at.
func (in *inbuf) unseen() []byte { return in.buf[in.next:in.filled] }

// fill reads more bytes behind those that are there. It moves them to the front if they are few, or if there is no room
// behind them. If they fill the buffer, it grows.
func (in *inbuf) fill() error {
	kept, size := in.end-in.start, len(in.buf)
	used := kept + in.filled - in.next
	if used <= smallMove || used <= size/8 && in.filled > size/2 || in.filled == size {
		to := in.buf
		if used == size {
			to = make([]byte, 2*size)
		}
		copy(to, in.text())
		copy(to[kept:], in.unseen())
		in.buf, in.start, in.end, in.next, in.filled = to, 0, kept, kept, used
	}
	n, err := in.from.Read(in.buf[in.filled:])
	in.filled += n
	if n > 0 {
		return nil
	}
	return err
}

// smallMove is how many bytes fill always moves, so that it can read more at a time.
const smallMove = 1 << 10

// join appends n of the bytes that nobody has looked at to the text. It moves what is shorter, so joining all chunks of
// a page moves each byte once at most.
func (in *inbuf) join(n int) {
	kept := in.end - in.start
	switch {
	case in.end == in.next:
		in.end += n
	case kept <= n:
		copy(in.buf[in.next-kept:], in.text())
		in.start, in.end = in.next-kept, in.next+n
	default:
		in.end += copy(in.buf[in.end:], in.buf[in.next:in.next+n])
	}
	in.next += n
}

// Read implements io.Reader: it reads bytes that nobody has looked at.
func (in *inbuf) Read(p []byte) (int, error) {
	if in.next == in.filled {
		return in.from.Read(p)
	}
	n := copy(p, in.unseen())
	in.next += n
	return n, nil
}
