package mesh

import (
	"slices"
	"strconv"
	"strings"
)

// kind is the type of a stat, and the order of the sections of a page.
type kind int

const (
	counter kind = iota
	gauge
	histogram
)

func (k kind) String() string { return [...]string{"counter", "gauge", "histogram"}[k] }

// bounds are the upper bounds of Envoy's default histogram buckets, without the last bucket, +Inf.
var bounds = [...]float64{
	0.5, 1, 5, 10, 25, 50, 100, 250, 500, 1000, 2500, 5000, 10000, 30000, 60000, 300000, 600000, 1800000, 3600000,
}

// cell is one stat: a number, or the distribution of a histogram.
type cell struct {
	labels string // as on the page, without the braces: cluster_name="app"
	value  uint64

	buckets [len(bounds) + 1]uint64 // counts per bucket, not cumulative
	sum     float64
}

// add adds n to a counter.
func (c *cell) add(n uint64) { c.value += n }

// observe adds v to a histogram.
func (c *cell) observe(v float64) {
	i, _ := slices.BinarySearch(bounds[:], v)
	c.buckets[i]++
	c.sum += v
	c.value++
}

type family struct {
	name  string
	kind  kind
	cells []*cell // sorted by labels
}

// stats holds everything that one proxy counts, in the order of its page.
type stats struct {
	families []*family
}

// counter, gauge and histogram return the cell with a name and labels. They create it with value 0 if needed.
func (s *stats) counter(name, labels string) *cell   { return s.cell(counter, name, labels) }
func (s *stats) gauge(name, labels string) *cell     { return s.cell(gauge, name, labels) }
func (s *stats) histogram(name, labels string) *cell { return s.cell(histogram, name, labels) }

func (s *stats) cell(k kind, name, labels string) *cell {
	i, found := slices.BinarySearchFunc(s.families, family{name: name, kind: k}, func(f *family, want family) int {
		if f.kind != want.kind {
			return int(f.kind) - int(want.kind)
		}
		return strings.Compare(f.name, want.name)
	})
	if !found {
		s.families = slices.Insert(s.families, i, &family{name: name, kind: k})
	}
	f := s.families[i]
	j, found := slices.BinarySearchFunc(f.cells, labels,
		func(c *cell, want string) int { return strings.Compare(c.labels, want) })
	if !found {
		f.cells = slices.Insert(f.cells, j, &cell{labels: labels})
	}
	return f.cells[j]
}

// appendPage appends the page in Envoy's form: TYPE lines and samples only, with braces on every sample. Example:
//
//	# TYPE envoy_cluster_upstream_rq counter
//	envoy_cluster_upstream_rq{cluster_name="app"} 7
func (s *stats) appendPage(dst []byte) []byte {
	for _, f := range s.families {
		dst = append(dst, "# TYPE "...)
		dst = append(dst, f.name...)
		dst = append(dst, ' ')
		dst = append(dst, f.kind.String()...)
		dst = append(dst, '\n')
		for _, c := range f.cells {
			if f.kind == histogram {
				dst = appendHistogram(dst, f.name, c)
			} else {
				dst = appendSample(dst, f.name, "", c.labels, "")
				dst = strconv.AppendUint(dst, c.value, 10)
				dst = append(dst, '\n')
			}
		}
	}
	return dst
}

func appendHistogram(dst []byte, name string, c *cell) []byte {
	var cumulative uint64
	for i, n := range c.buckets {
		le := "+Inf"
		if i < len(bounds) {
			le = string(appendFloat(nil, bounds[i]))
		}
		cumulative += n
		dst = appendSample(dst, name, "_bucket", c.labels, le)
		dst = strconv.AppendUint(dst, cumulative, 10)
		dst = append(dst, '\n')
	}
	dst = appendSample(dst, name, "_sum", c.labels, "")
	dst = appendFloat(dst, c.sum)
	dst = append(dst, '\n')
	dst = appendSample(dst, name, "_count", c.labels, "")
	dst = strconv.AppendUint(dst, c.value, 10)
	return append(dst, '\n')
}

// appendSample appends a sample up to its value.
func appendSample(dst []byte, name, suffix, labels, le string) []byte {
	dst = append(dst, name...)
	dst = append(dst, suffix...)
	dst = append(dst, '{')
	dst = append(dst, labels...)
	if le != "" {
		if labels != "" {
			dst = append(dst, ',')
		}
		dst = append(dst, `le="`...)
		dst = append(dst, le...)
		dst = append(dst, '"')
	}
	return append(dst, "} "...)
}

// appendFloat appends a number with up to 32 significant digits, as Envoy does for sums and bounds.
func appendFloat(dst []byte, v float64) []byte { return strconv.AppendFloat(dst, v, 'g', 32, 64) }

// appendLabel appends one label with its value escaped.
func appendLabel(dst []byte, name, value string) []byte {
	if len(dst) > 0 {
		dst = append(dst, ',')
	}
	dst = append(dst, name...)
	dst = append(dst, `="`...)
	for i := range len(value) {
		switch value[i] {
		case '\\':
			dst = append(dst, `\\`...)
		case '"':
			dst = append(dst, `\"`...)
		case '\n':
			dst = append(dst, `\n`...)
		default:
			dst = append(dst, value[i])
		}
	}
	return append(dst, '"')
}

// printLabels formats pairs of names and values as the inside of the braces.
func printLabels(pairs ...string) string {
	var dst []byte
	for i := 0; i < len(pairs); i += 2 {
		dst = appendLabel(dst, pairs[i], pairs[i+1])
	}
	return string(dst)
}
