package exposition

import (
	"hash/maphash"
	"strings"

	"github.com/prometheus/common/model"

	"github.com/envoy-scraper/envoy-scraper/internal/series"
)

// family is the metric family that a TYPE, HELP or UNIT speaks of.
type family struct {
	hash uint64 // of its name; 0: none yet
	typ  series.MetricType
	help bool // in a layout: the line is a HELP, which leaves the type in force
}

func (f family) moved(hash uint64) family {
	if f.hash == hash {
		return f
	}
	return family{hash: hash, typ: series.TypeUnknown}
}

// commentSalt keeps a comment from being taken for a series, typeSalt a text under one TYPE from one under
// another, which may mean other labels.
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

func (p *Page) familyHash(name []byte) uint64 { return maphash.Bytes(p.layouts.seed, name) | 1 }

// remember keeps what a HELP or UNIT says of the family in force; a TYPE too, where no line tells that it is new.
func (p *Page) remember(set func(*series.Meta)) {
	if p.helpBytes > maxHelpBytes {
		return // until the next page
	}
	if p.help == nil {
		p.help = map[uint64]series.Meta{}
	}
	m, known := p.help[p.family.hash]
	before := m
	set(&m)
	p.changed = p.changed || m != before
	p.help[p.family.hash] = m
	p.helpBytes += len(m.Help) + len(m.Unit) - len(before.Help) - len(before.Unit)
	if !known {
		p.helpBytes += helpEntryBytes
	}
}

// meta returns the metadata of a series by its name: that of the family in force if it belongs to it, which
// is not certain on the pages of an old Envoy.
func (p *Page) meta(name string) series.Meta {
	if m, ok := p.metaOf(name); ok {
		return m
	}
	return series.Meta{Type: model.MetricTypeUnknown}
}

// metaOf is meta; not ok: no family that the page tells of has such a series.
func (p *Page) metaOf(name string) (_ series.Meta, ok bool) {
	if p.family.hash == 0 {
		return series.Meta{}, false
	}
	typ := p.family.typ.Model()
	for _, suffix := range suffixes(typ) {
		base, ok := strings.CutSuffix(name, suffix)
		if !ok {
			continue
		}
		for _, family := range []string{base, base + suffix} {
			if maphash.String(p.layouts.seed, family)|1 == p.family.hash {
				m := p.help[p.family.hash]
				m.Type = typ
				return m, true
			}
		}
	}
	return series.Meta{}, false
}

// renew gives a known series what the page says now of its family.
func (p *Page) renew(n int, name string) {
	if at := p.borrow().at(n); at.kind() == placeSeries {
		if m, ok := p.metaOf(name); ok {
			p.layouts.table.SetMeta(at.id(), m)
		}
	}
}

// printedName is the name at the beginning of a line; empty: it is not as plain as that. It aliases text.
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

// suffixes are what the series of a family may add to its name.
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
