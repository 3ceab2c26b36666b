package exposition

import (
	"hash/maphash"
	"strings"

	"github.com/prometheus/common/model"

	"github.com/envoy-scraper/envoy-scraper/internal/series"
)

// family is the metric family of a TYPE, HELP or UNIT line. Of `# TYPE istio_requests_total counter` it has the hash of
// the name and TypeCounter.
type family struct {
	hash uint64 // of its name; 0: none yet
	typ  series.MetricType
	help bool // in a layout: the line is a HELP, which leaves the type in force
}

// familyInForce is what the comments read so far say about the samples that follow.
//
// parseType is the type in the last TYPE line. It decides how le and quantile are printed. A HELP of another family
// changes family, but not parseType, as in textparse.
type familyInForce struct {
	family
	parseType model.MetricType
	changed   bool // the page gives the family another TYPE, HELP or UNIT than before
}

// moveTo puts the family with this hash in force. If it is another one, its type is unknown until a TYPE.
func (f *familyInForce) moveTo(hash uint64) {
	if f.hash != hash {
		f.family = family{hash: hash, typ: series.TypeUnknown}
	}
}

// commentSalt is part of the hash of a comment, so that it cannot be taken for a series. typeSalt is part of the hash
// of a series, because the same text under another TYPE may mean other labels: le="1" is le="1.0" in a histogram.
const commentSalt = 0x9e3779b97f4a7c15

func typeSalt(t model.MetricType) uint64 {
	switch t {
	case model.MetricTypeHistogram:
		return 0xd6e8feb86659fd93
	case model.MetricTypeSummary:
		return 0xa0761d6478bd642f
	default:
		return 0
	}
}

func (r *reading) hashSeries(text []byte) uint64 {
	return maphash.Bytes(r.seed, text) ^ typeSalt(r.family.parseType)
}

func (r *reading) hashComment(line []byte) uint64 { return maphash.Bytes(r.seed, line) ^ commentSalt }
func (r *reading) hashFamily(name []byte) uint64  { return maphash.Bytes(r.seed, name) | 1 }

const (
	// maxHelpBytes bounds the HELP and UNIT texts of a target, over all of its pages.
	maxHelpBytes = 4 << 20
	// helpEntryBytes is what an entry costs without its texts.
	helpEntryBytes = 100
)

// familyTexts are the texts of HELP and UNIT lines, by the hash of the family's name. Envoy prints neither.
//
// Invariant: they take at most maxHelpBytes and one text more. When they are full, nothing more is taken from this
// page, and the next page begins with none.
type familyTexts struct {
	byFamily map[uint64]series.Meta
	bytes    int
}

func (t *familyTexts) full() bool { return t.bytes > maxHelpBytes }

func (t *familyTexts) begin() {
	if t.full() {
		*t = familyTexts{}
	}
}

// update changes what is known of a family and reports whether that made a difference.
func (t *familyTexts) update(hash uint64, set func(*series.Meta)) (changed bool) {
	if t.full() {
		return false
	}
	if t.byFamily == nil {
		t.byFamily = map[uint64]series.Meta{}
	}
	m, known := t.byFamily[hash]
	before := m
	set(&m)
	t.byFamily[hash] = m
	t.bytes += len(m.Help) + len(m.Unit) - len(before.Help) - len(before.Unit)
	if !known {
		t.bytes += helpEntryBytes
	}
	return m != before
}

// updateText stores the HELP or UNIT of the family in force. For pages in other formats than plain text it also stores
// the TYPE, because no layout holds it.
func (r *reading) updateText(set func(*series.Meta)) {
	if r.page.texts.update(r.family.hash, set) {
		r.family.changed = true
	}
}

// meta returns the metadata of a series by its name: that of the family in force if the series belongs to it. On the
// pages of an old Envoy it may not.
func (r *reading) meta(name string) series.Meta {
	if m, ok := r.familyOf(name); ok {
		return m
	}
	return series.Meta{Type: model.MetricTypeUnknown}
}

// familyOf returns the metadata of the family in force if it has a series of this name.
func (r *reading) familyOf(name string) (_ series.Meta, ok bool) {
	if r.family.hash == 0 {
		return series.Meta{}, false
	}
	typ := r.family.typ.Model()
	for _, suffix := range suffixes(typ) {
		base, ok := strings.CutSuffix(name, suffix)
		if !ok {
			continue
		}
		for _, family := range [2]string{base, name} {
			if maphash.String(r.seed, family)|1 == r.family.hash {
				m := r.page.texts.byFamily[r.family.hash]
				m.Type = typ
				return m, true
			}
		}
	}
	return series.Meta{}, false
}

// updateMeta gives the series of a known line what the page says now of its family.
func (r *reading) updateMeta(n int, name string) {
	if ref := r.borrowDraft().known.at(n); ref.isSeries() {
		if m, ok := r.familyOf(name); ok {
			r.page.layouts.table.SetMeta(ref.id(), m)
		}
	}
}

// printedName returns the name at the beginning of a line, or "" if it is neither `name…` nor `{"name"…`. It aliases
// text.
func printedName(text []byte) string {
	s := view(text)
	if n := nameLen(s, true); n > 0 {
		return s[:n]
	}
	if rest, quoted := strings.CutPrefix(s, `{"`); quoted {
		name, _, _ := strings.Cut(rest, `"`)
		return name
	}
	return ""
}

// suffixes returns what the series of a family may append to its name.
func suffixes(t model.MetricType) []string {
	switch t {
	case model.MetricTypeCounter:
		return []string{"", "_total"}
	case model.MetricTypeHistogram:
		return []string{"_bucket", "_sum", "_count", ""}
	case model.MetricTypeGaugeHistogram:
		return []string{"_bucket", "_gsum", "_gcount", ""}
	case model.MetricTypeSummary:
		return []string{"", "_sum", "_count"}
	case model.MetricTypeInfo:
		return []string{"", "_info"}
	default:
		return []string{""}
	}
}
