package oracle

import "slices"

// LiveSeries returns how many different series an agent must know that scrapes these pods: those of their last good
// pages, which pods may share since the target's labels do not count, and those of the report, which all targets share.
// It is right shortly after Judge, if no scrape has failed since.
func (o *Oracle) LiveSeries(pods []string) int {
	o.mu.Lock()
	defer o.mu.Unlock()
	live, now := map[string]bool{}, o.configs[len(o.configs)-1]
	for _, name := range pods {
		p := o.pods[name]
		if p == nil {
			continue
		}
		t := now.targetOf(p)
		for _, pg := range slices.Backward(p.pages) {
			if t == nil || !pg.good() {
				continue
			}
			for _, s := range pg.samples {
				if !t.scrapedOf(s.Series).IsEmpty() {
					live[s.Series.Labels.String()] = true
				}
			}
			break
		}
	}
	if len(pods) == 0 {
		return 0
	}
	return len(live) + len(reportNames)
}
