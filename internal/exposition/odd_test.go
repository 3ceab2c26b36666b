package exposition

import (
	"bytes"
	"fmt"
	"maps"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/envoy-scraper/envoy-scraper/internal/series"
)

// oddPage is a kind of page that a target prints again and again.
type oddPage struct {
	print   func(round int, families [][]string) string // families are lines without values, the first a TYPE
	repeats bool                                        // from the third page on each line is the one expected
}

func oddPages() map[string]oddPage {
	value := func(round, i int) string { return fmt.Sprintf(" %d\n", round*1000+i) }
	grouped := func(value func(round, i int) string, after string) func(int, [][]string) string {
		return func(round int, families [][]string) string {
			var b strings.Builder
			for _, f := range families {
				b.WriteString(f[0] + "\n")
				for i, line := range f[1:] {
					b.WriteString(line + value(round, i))
				}
				b.WriteString(after)
			}
			return b.String()
		}
	}
	return map[string]oddPage{
		"as expected":         {grouped(value, ""), true},
		"blank lines":         {grouped(value, "\n"), true}, // Envoy up to 1.23
		"blank lines, blanks": {grouped(value, " \n"), true},
		"20 digits": {grouped(func(round, i int) string {
			return fmt.Sprintf(" %d\n", uint64(math.MaxUint64)-uint64(round*1000+i))
		}, ""), true},
		"32 digits": {grouped(func(round, i int) string {
			return fmt.Sprintf(" %d.89999999999997726263245567679\n", round*1000+i)
		}, ""), true},
		"timestamps": {grouped(func(round, i int) string {
			return fmt.Sprintf(" %d %d\n", i, 1_700_000_000_000+int64(round)*10_000)
		}, ""), false},
		"each line twice": {grouped(value, ""), true},
		"TYPE repeated": {func(round int, families [][]string) string {
			var b strings.Builder
			for _, f := range families {
				for i, line := range f[1:] {
					b.WriteString(f[0] + "\n" + line + value(round, i))
				}
			}
			return b.String()
		}, true},
		"ungrouped": {func(round int, families [][]string) string { // Envoy before 1.14
			var b strings.Builder
			for i := range families[0][1:] {
				for j, f := range families {
					if i%2 == 0 || j%3 == 0 {
						b.WriteString(f[0] + "\n")
					}
					b.WriteString(f[1+(i*7+j)%(len(f)-1)] + value(round, i))
				}
			}
			return b.String()
		}, true},
		"random order": {func(round int, families [][]string) string { // ztunnel
			r := rand.New(rand.NewPCG(uint64(round), 0))
			shuffled := slices.Clone(families)
			r.Shuffle(len(shuffled), func(i, j int) { shuffled[i], shuffled[j] = shuffled[j], shuffled[i] })
			for i, f := range shuffled {
				f = slices.Clone(f)
				r.Shuffle(len(f)-1, func(i, j int) { f[1+i], f[1+j] = f[1+j], f[1+i] })
				shuffled[i] = f
			}
			return grouped(value, "")(round, shuffled)
		}, false},
		"5 % new": {replaced(grouped(value, ""), func(line string, n int) string {
			return strings.Replace(line, "{", fmt.Sprintf("{n=\"%d\",", n), 1)
		}), false},
		"5 % new and escaped": {replaced(grouped(value, ""), func(line string, n int) string {
			return strings.Replace(line, "{", fmt.Sprintf("{n=\"\\\\%d\",", n), 1)
		}), false},
	}
}

// replaced prints another line instead of each twentieth.
func replaced(print func(int, [][]string) string, by func(line string, n int) string) func(int, [][]string) string {
	return func(round int, families [][]string) string {
		n := 0
		families = slices.Clone(families)
		for i, f := range families {
			f = slices.Clone(f)
			for j := range f[1:] {
				if n++; (n+round)%20 == 0 {
					f[1+j] = by(f[1+j], round)
				}
			}
			families[i] = f
		}
		return print(round, families)
	}
}

// oddFamilies returns families of all types. Their lines have about width bytes.
func oddFamilies(lines, width int) (families [][]string) {
	const each = 20
	for i := range lines / each {
		typ := []string{"counter", "gauge", "histogram", "summary"}[i%4]
		name := fmt.Sprintf("istio_%s_%d", typ, i)
		f := []string{fmt.Sprintf("# TYPE %s %s", name, typ)}
		for j := range each {
			bound := map[string]string{"histogram": ",le=\"%d\"", "summary": ",quantile=\"0.%02d\""}[typ]
			if bound != "" {
				bound = fmt.Sprintf(bound, j)
			}
			suffix := map[string]string{"histogram": "_bucket"}[typ]
			f = append(f, fmt.Sprintf("%s%s{reporter=\"destination\",source_workload=\"%0*d\",response_code=\"%d\"%s}",
				name, suffix, max(1, width-100), 0, 200+j, bound))
		}
		families = append(families, f)
	}
	return families
}

// printOdd prints a page of a kind, for "each line twice" with every line doubled.
func printOdd(kind string, page oddPage, round int, families [][]string) string {
	text := page.print(round, families)
	if kind != "each line twice" {
		return text
	}
	var b strings.Builder
	for line := range strings.Lines(text) {
		b.WriteString(line + line)
	}
	return b.String()
}

// TestOddPages reads pages as old Envoys and other proxies print them. They yield the samples that textparse finds and,
// where the order of lines stays, take the fast path.
func TestOddPages(t *testing.T) {
	families := oddFamilies(400, 200)
	for kind, page := range oddPages() {
		t.Run(kind, func(t *testing.T) {
			l := newLearner()
			p := NewPage(l.layouts, l, Options{HonorTimestamps: true})
			for round := range 5 {
				text := []byte(printOdd(kind, page, round, families))
				readBoth(t, p, l, text, plain, bytes.NewReader(text))
			}
			var b series.Batch
			b.Reset(l.target, 1)
			c, err := p.Read(strings.NewReader(printOdd(kind, page, 5, families)), plain, math.MaxInt64, &b)
			if err != nil || c.Unchanged != page.repeats {
				t.Errorf("%+v, %v; want Unchanged %v", c, err, page.repeats)
			}
			p.Commit(Shown{}).Release()
			p.Forget()
			if s, n := l.table.Len(), l.layouts.Len(); s+n != 0 {
				t.Errorf("%d series, %d layouts left", s, n)
			}
		})
	}
}

// BenchmarkOddPages is BenchmarkRepeatedPage for odd pages, with lines of half a kilobyte as well.
func BenchmarkOddPages(b *testing.B) {
	const lines, rounds = 2000, 8
	families := oddFamilies(lines, 512)
	kinds := oddPages()
	for _, kind := range slices.Sorted(maps.Keys(kinds)) {
		b.Run(kind, func(b *testing.B) {
			var pages []string
			for round := range rounds {
				pages = append(pages, printOdd(kind, kinds[kind], round, families))
			}
			l := newLearner()
			p := NewPage(l.layouts, l, Options{HonorTimestamps: true})
			var batch series.Batch
			body := strings.NewReader("")
			b.SetBytes(int64(len(pages[0])))
			samples, i := 0, 0
			for b.Loop() {
				body.Reset(pages[i%rounds])
				batch.Reset(l.target, 1)
				c, err := p.Read(body, plain, math.MaxInt64, &batch)
				if err != nil {
					b.Fatal(err)
				}
				p.Commit(Shown{}).Release()
				samples += c.Scraped
				i++
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(samples), "ns/sample")
		})
	}
}
