package queue

import (
	"bytes"
	"encoding/binary"
	"errors"
	"slices"
	"testing"
)

// FuzzSegment: a queue starts and ends with any bytes in a segment. Every record it delivers is in the segment with
// valid checksums, so is its layout, and each delivery begins with the first record of a request. A queue is refused
// only for a header of another version, and then its file is unchanged. With fixSums, the checksums of headers are
// corrected first, since no fuzzer guesses them.
func FuzzSegment(f *testing.F) {
	seg := appendSample(nil, "one", true, 0)
	seg = appendSample(seg, "two", false, 1)
	f.Add(seg, false)
	f.Add(streamSample(streamSample(streamSample(seg, "7a", 7), "9a", 9), "7b", 7), true)
	f.Add(appendSample(seg, "", true, 2), true)
	f.Add(append(seg[:70:70], seg...), false)
	f.Add(bytes.Repeat(magic[:], 100), true)
	withLayouts := layoutSample(nil, &Layout{Data: []byte("a layout")}, "one", "two", "three")
	withLayouts = layoutSample(append(withLayouts, seg...), &Layout{Data: []byte("another")}, "four")
	f.Add(withLayouts, false)
	f.Add(withLayouts, true)
	f.Add(withLayouts[2*headerSize:], true)
	f.Add(slices.Concat(withLayouts[:headerSize+8], withLayouts), true)
	f.Fuzz(func(t *testing.T, content []byte, fixSums bool) {
		content = bytes.Clone(content)
		if fixSums {
			for i := 0; i+headerSize <= len(content); i++ {
				if bytes.Equal(content[i:i+4], magic[:]) {
					version, kind := byte(oldHeaderVersion), byte(kindPlain)
					if content[i+4]&1 == 0 {
						version, kind = headerVersion, content[i+6]%byte(kindLayout+1)
					}
					content[i+4], content[i+5], content[i+6], content[i+7] = version, content[i+5]&flagFirst, kind, 0
					binary.LittleEndian.PutUint32(content[i+44:], checksum(content[i:i+44]))
				}
			}
		}
		valid, layouts := map[string]bool{}, map[string]bool{}
		mayRefuse := false
		for i := range content {
			mayRefuse = mayRefuse || intact(content[i:]) && unknown(content[i:]) != ""
			h, ok := parseHeader(content[i:])
			if !ok || int64(len(content)-i) < h.size() {
				continue
			}
			data := content[i+headerSize:][:h.length]
			switch {
			case checksum(data) != h.crc:
			case h.isLayout():
				layouts[string(data)] = true
			default:
				valid[string(data[:h.dataBytes()])] = true
			}
		}
		fs := newFakeFS()
		name := join(join("data", queuePrefix+"x"), laneName{1, 1, 0}.segment(1))
		fs.Names[name] = &fakeData{Content: bytes.Clone(content)}
		q, err := openStore(t, "data", fs).Open("x", 1, quiet())
		var refused *FormatError
		if errors.As(err, &refused) && mayRefuse {
			if !bytes.Equal(fs.Names[name].Content, content) {
				t.Error("a refused queue was changed")
			}
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		given := 0
		for g, state, _ := q.Next(0, Limit{Requests: 2}); state == Ready; g, state, _ = q.Next(0, Limit{Requests: 2}) {
			for _, r := range g {
				for i, rec := range r.Records {
					if !valid[string(rec.Data)] || rec.First != (i == 0) {
						t.Fatalf("gives %q, first: %v", rec.Data, rec.First)
					}
					if rec.Layout != nil && (!layouts[string(rec.Layout.Data)] || len(r.Records) > 1) {
						t.Fatalf("gives %q with layout %q, %d records", rec.Data, rec.Layout.Data, len(r.Records))
					}
					given += headerSize + len(rec.Data)
				}
			}
			q.Ack(0)
		}
		if given > len(content) {
			t.Errorf("%d bytes were given out of %d", given, len(content))
		}
		if s := q.Stats(); s.Samples != 0 || s.Requests != 0 || s.Bytes != 0 {
			t.Errorf("at the end: %+v", s)
		}
		mustClose(t, q)
		for _, left := range segments(fs) {
			t.Errorf("%s is left", left)
		}
	})
}

func streamSample(b []byte, data string, stream uint64) []byte {
	r := record(data, true)
	r.Stream = stream
	at := len(b)
	b = appendRecord(b, r, int64(at), 2, nil)
	addChecksums(b[at:])
	return b
}

// layoutSample appends records with a layout.
func layoutSample(b []byte, layout *Layout, texts ...string) []byte {
	var written layouts
	for i, text := range texts {
		r := record(text, true)
		r.Stream, r.Layout = 7, layout
		at := len(b)
		c := written.copyFor(r, int64(at), uint64(i))
		b = appendRecord(b, r, int64(at), uint64(i), c)
		written.add(c)
		addChecksums(b[at:])
	}
	return b
}

func appendSample(b []byte, data string, first bool, before uint32) []byte {
	h := header{first: first, length: uint32(len(data)), crc: checksum([]byte(data)), before: before, samples: 1}
	var hb [headerSize]byte
	h.put(hb[:])
	return append(append(b, hb[:]...), data...)
}
