package cost

import (
	"github.com/envoy-scraper/envoy-scraper/internal/scrape"
	"github.com/envoy-scraper/envoy-scraper/internal/series"
)

// addLabels adds the labels of a page: those of its stems, of the target, and le.
func (c *counter) addLabels(n int32, p *scrape.LastPage, sh *shape, perSecond float64) {
	var byBit [64]int // series that have the target's label of this bit
	for i := 0; i < len(sh.stems); {
		c.reader.read(func(v series.View) (steps int) {
			for ; i < len(sh.stems) && steps < maxWork; i++ {
				stem := sh.stems[i]
				own, mask := v.OwnLabels(stem.stem)
				for _, pair := range own {
					c.addLabel(v, n, pair, stem.series, true, perSecond)
					if !c.brief && !c.stemSeen[stem.stem] {
						c.addValue(pair)
					}
				}
				c.stemSeen[stem.stem] = true
				for bit := 0; mask != 0; bit, mask = bit+1, mask>>1 {
					if mask&1 != 0 {
						byBit[bit] += stem.series
						steps++
					}
				}
				steps += 1 + len(own)
			}
			return steps
		})
	}
	c.reader.read(func(v series.View) int {
		pairs := v.TargetPairs(p.Target)
		for bit, pair := range pairs[:min(len(pairs), len(byBit))] {
			if byBit[bit] > 0 {
				c.addLabel(v, n, pair, byBit[bit], false, perSecond)
				if !c.brief {
					c.addValue(pair)
				}
			}
		}
		return len(pairs)
	})
	le, text := 0, int64(0)
	for _, name := range sh.names {
		le += name.le
		text += name.leText
	}
	if le > 0 {
		c.reader.read(func(v series.View) int {
			c.addLabel(v, n, series.Pair{Name: series.SymbolLe}, le, false, perSecond)
			return 1
		})
		c.labelRows[c.labelAt[series.SymbolLe]-1].bytes += float64(text)
	}
}

// addLabel adds a label that many series of a page have. printed says that its bytes are on the page.
func (c *counter) addLabel(v series.View, n int32, pair series.Pair, count int, printed bool, perSecond float64) {
	at := c.labelAt[pair.Name]
	if at == 0 {
		name := v.String(pair.Name)
		c.labelRows = append(c.labelRows, Row{Name: name})
		c.labelPage = append(c.labelPage, 0)
		at = int32(len(c.labelRows))
		c.labelAt[pair.Name] = at
		c.out.labels[name] = pair.Name
	}
	row := &c.labelRows[at-1]
	row.Series += count
	row.SamplesPerSecond += float64(count) * perSecond
	if printed {
		row.bytes += float64(labelText(len(row.Name), len(v.String(pair.Value)))) * float64(count)
	}
	if c.labelPage[at-1] != n {
		c.labelPage[at-1] = n
		row.Pods++
	}
}

// addValue counts the value of a label if it is a new one.
func (c *counter) addValue(pair series.Pair) {
	if _, known := c.values[pair]; !known {
		c.values[pair] = struct{}{}
		c.labelRows[c.labelAt[pair.Name]-1].Values++
	}
}
