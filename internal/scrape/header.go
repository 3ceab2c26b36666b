package scrape

import (
	"bytes"
	"strconv"
	"strings"
)

// header holds the fields of a response header that a scrape needs.
type header struct {
	contentType []byte // contentType and encoding alias the parsed bytes
	encoding    []byte
	length      int64 // of the body, or chunked
}

// parseHeader parses the status line and the header at the beginning of b and returns their length n. It knows the form
// that Envoy and Go servers write: HTTP/1.1 200, plain header lines, one framing, keep-alive.
//
//	HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ntransfer-encoding: chunked\r\n\r\n
//
// In any other form, or if b ends within the header, n is 0, and http.ReadResponse must parse it.
func parseHeader(b []byte) (h header, n int) {
	h.length = noLength
	line, rest, ok := cutLine(b)
	if !ok || !bytes.HasPrefix(line, []byte("HTTP/1.1 200 ")) {
		return h, 0
	}
	for {
		if line, rest, ok = cutLine(rest); !ok {
			return h, 0
		}
		if len(line) == 0 {
			break
		}
		name, value, ok := cutField(line)
		if !ok || !h.add(name, value) {
			return h, 0
		}
	}
	if h.length == noLength {
		return h, 0
	}
	return h, len(b) - len(rest)
}

// Values of header.length that are no length.
const (
	chunked  int64 = -1
	noLength int64 = -2 // no framing was read
)

// add stores a header field. It returns false if net/http must parse this header.
func (h *header) add(name, value []byte) bool {
	switch {
	case equalFold(name, "content-type"):
		return setOnce(&h.contentType, value)
	case equalFold(name, "content-encoding"):
		return setOnce(&h.encoding, value)
	case equalFold(name, "transfer-encoding"):
		if h.length != noLength || !equalFold(value, "chunked") {
			return false
		}
		h.length = chunked
	case equalFold(name, "content-length"):
		n, err := strconv.ParseUint(string(value), 10, 63)
		if h.length != noLength || err != nil {
			return false
		}
		h.length = int64(n)
	case equalFold(name, "connection"):
		return equalFold(value, "keep-alive")
	case equalFold(name, "trailer"):
		return false
	}
	return true
}

// setOnce sets *to and returns true, unless *to is set already or value is empty.
func setOnce(to *[]byte, value []byte) bool {
	if *to != nil || len(value) == 0 {
		return false
	}
	*to = value
	return true
}

func equalFold(b []byte, s string) bool { return len(b) == len(s) && strings.EqualFold(string(b), s) }

// cutLine cuts a line that ends in CRLF. It is not ok if the line has bytes other than printable ASCII and tabs.
func cutLine(b []byte) (line, rest []byte, ok bool) {
	end := bytes.IndexByte(b, '\n')
	if end < 1 || b[end-1] != '\r' {
		return nil, nil, false
	}
	line = b[:end-1]
	for _, c := range line {
		if (c < ' ' && c != '\t') || c > '~' {
			return nil, nil, false
		}
	}
	return line, b[end+1:], true
}

// cutField cuts `Name: value`. It is not ok for a folded line, which continues the line before it and has no name.
func cutField(line []byte) (name, value []byte, ok bool) {
	name, value, ok = bytes.Cut(line, []byte(":"))
	if !ok || len(name) == 0 {
		return nil, nil, false
	}
	for _, c := range name {
		if (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && c != '-' {
			return nil, nil, false
		}
	}
	return name, bytes.Trim(value, " \t"), true
}
