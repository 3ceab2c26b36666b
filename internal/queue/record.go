package queue

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"path/filepath"
)

const (
	headerSize       = 48
	headerVersion    = 2
	oldHeaderVersion = 1 // without a stream
	flagFirst        = 1
)

// kind says what the data of a record is.
type kind uint16

const (
	kindPlain        kind = iota // Record.Data; the record has no layout
	kindPackedLayout             // the bytes of a Packed Layout; the record that follows has it
	kindWithLayout               // Record.Data, then a layoutRef
	kindLayout                   // the bytes of any other Layout; the record that follows has it
)

// magic begins every header. A search after damage looks for it.
var magic = [4]byte{'E', 's', 'q', 'R'}

// castagnoli is the table of CRC-32C, for which processors have an instruction.
var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func checksum(b []byte) uint32 { return crc32.Checksum(b, castagnoli) }

// maxRecordBytes limits the data of a record: a header with a larger length is damaged. It is twice the size to which a
// fragment of remote write can unpack.
const maxRecordBytes = 256 << 20

// header is before the data of a record. doc.go draws it.
type header struct {
	first          bool
	kind           kind
	length         uint32
	crc            uint32 // of the data
	before         uint32 // samples of the segment before this record, so that the loss in a damaged part is known
	oldest, newest int64
	stream         uint64 // of the request that the record begins
	samples        uint32
	old            bool // of version 1: stream is 0
}

func (h *header) size() int64 { return headerSize + int64(h.length) }

// dataBytes returns the length of Record.Data.
func (h *header) dataBytes() int64 {
	if h.kind == kindWithLayout {
		return int64(h.length) - layoutRefSize
	}
	return int64(h.length)
}

// isLayout reports whether the data is a layout.
func (h *header) isLayout() bool { return h.kind == kindLayout || h.kind == kindPackedLayout }

// append appends the header and the data.
func (h *header) append(dst, data []byte) []byte {
	var b [headerSize]byte
	h.put(b[:])
	return append(append(dst, b[:]...), data...)
}

func (h *header) put(b []byte) {
	copy(b, magic[:])
	b[4], b[5] = headerVersion, 0
	if h.first {
		b[5] = flagFirst
	}
	le := binary.LittleEndian
	le.PutUint16(b[6:], uint16(h.kind))
	le.PutUint32(b[8:], h.length)
	le.PutUint32(b[12:], h.crc)
	le.PutUint32(b[16:], h.before)
	putInt48(b[20:], h.oldest)
	putInt48(b[26:], h.newest)
	le.PutUint64(b[32:], h.stream)
	le.PutUint32(b[40:], h.samples)
	le.PutUint32(b[44:], checksum(b[:44]))
}

// maxInt48 is the last timestamp that 6 bytes can have. It is in the year 6429.
const maxInt48 = 1<<47 - 1

// putInt48 puts the lower 6 bytes of a timestamp. A timestamp that has more becomes the nearest that has not.
func putInt48(b []byte, v int64) {
	v = max(-maxInt48, min(maxInt48, v))
	binary.LittleEndian.PutUint32(b, uint32(v))
	binary.LittleEndian.PutUint16(b[4:], uint16(v>>32))
}

func int48(b []byte) int64 {
	low, high := binary.LittleEndian.Uint32(b), int16(binary.LittleEndian.Uint16(b[4:]))
	return int64(high)<<32 | int64(low)
}

// intact reports whether b begins with a header, of any version: all versions keep the magic, the size of the header
// and the offset of its checksum.
func intact(b []byte) bool {
	return len(b) >= headerSize && bytes.Equal(b[:4], magic[:]) &&
		binary.LittleEndian.Uint32(b[44:]) == checksum(b[:44])
}

// unknown describes the part of an intact header that this version does not know. It is empty if there is none.
func unknown(b []byte) string {
	is, known := kind(binary.LittleEndian.Uint16(b[6:])), kindLayout
	if b[4] == oldHeaderVersion {
		known = kindPlain
	}
	switch {
	case b[4] != headerVersion && b[4] != oldHeaderVersion:
		return fmt.Sprintf("version %d of the records, where this program knows version %d", b[4], headerVersion)
	case b[5]&^flagFirst != 0:
		return fmt.Sprintf("flags %#02x of a record, where this program knows %#02x", b[5], flagFirst)
	case is > known:
		return fmt.Sprintf("kind %d of the data in a record of version %d, where this program knows kinds up to %d",
			is, b[4], known)
	}
	return ""
}

// parseHeader returns false for bytes that put did not write.
func parseHeader(b []byte) (h header, ok bool) {
	le := binary.LittleEndian
	if !intact(b) || unknown(b) != "" || le.Uint32(b[8:]) > maxRecordBytes {
		return h, false
	}
	h = header{
		first: b[5]&flagFirst != 0, kind: kind(le.Uint16(b[6:])), length: le.Uint32(b[8:]), crc: le.Uint32(b[12:]),
		before: le.Uint32(b[16:]), samples: le.Uint32(b[40:]), old: b[4] == oldHeaderVersion,
	}
	if h.old { // before has 8 bytes; the lower 4 suffice, since only differences are needed
		h.oldest, h.newest = int64(le.Uint64(b[24:])), int64(le.Uint64(b[32:]))
		return h, true
	}
	h.oldest, h.newest, h.stream = int48(b[20:]), int48(b[26:]), le.Uint64(b[32:])
	switch h.kind {
	case kindLayout, kindPackedLayout:
		ok = h.first && h.samples == 0
	case kindWithLayout:
		ok = h.length >= layoutRefSize
	default:
		ok = true
	}
	return h, ok
}

// appendRecord appends a record in the format of a segment, without the checksum of its data. at is its offset, and
// before the number of samples in the segment before it. c is the copy of its layout in the segment, if it has one; a
// copy at the same offset is appended first.
func appendRecord(dst []byte, rec Record, at int64, before uint64, c *layoutCopy) []byte {
	h := header{
		first: rec.First, length: uint32(len(rec.Data)), before: uint32(before),
		oldest: rec.Oldest, newest: rec.Newest, samples: uint32(rec.Samples),
	}
	if rec.First {
		h.stream = rec.Stream
	}
	if rec.Layout == nil {
		return h.append(dst, rec.Data)
	}
	if c.at == at {
		dst = c.append(dst, rec.Layout.Append(nil))
		h.first, h.stream = false, 0
	}
	h.kind = kindWithLayout
	h.length += layoutRefSize
	return c.ref().append(h.append(dst, rec.Data))
}

// addChecksums completes records that appendRecord appended. It is called without mu, since it takes a while.
func addChecksums(records []byte) {
	for at := 0; at < len(records); {
		h, _ := parseHeader(records[at:])
		h.crc = checksum(records[at+headerSize:][:h.length])
		h.put(records[at:])
		at += int(h.size())
	}
}

// FormatError says that another version of this program wrote a queue. The queue is refused and left as it is.
type FormatError struct {
	File    string // with its directory
	Unknown string // what this version does not know, for example "version 2 of the records"
}

func (e *FormatError) Error() string {
	return fmt.Sprintf("%s has %s; the queue is left as it is: run the version of envoy-scraper that wrote it until "+
		"the queue is empty, then stop it and move the directory %s away (moved away before, the samples in it are "+
		"given up)",
		e.File, e.Unknown, filepath.Dir(e.File))
}
