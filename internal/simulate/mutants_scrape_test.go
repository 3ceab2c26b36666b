package simulate

import "github.com/envoy-scraper/envoy-scraper/internal/mutants"

// scrapeMistakes are mistakes between a page and its batch.
func scrapeMistakes() []mutants.Mutant {
	loop := func(name, old, changed string) mutants.Mutant {
		return mutants.One(name, "../scrape/loop.go", old, changed)
	}
	return []mutants.Mutant{
		loop("a marker is forgotten after a reload",
			"l.live, l.ages, l.stamps, l.scraped, l.traits = old.live, old.ages, old.stamps, old.scraped, old.traits",
			"l.ages, l.stamps, l.scraped, l.traits = old.ages, old.stamps, old.scraped, old.traits"),
		loop("a failed scrape marks nothing", "markMissing(b, l.live, shown)", "_ = shown"),
		loop("a target that is gone gets no markers for its report", "l.report.end(b)\n", ""),
		loop("a target that is gone gets markers for its report only", "markAll(b, l.live)\n", ""),
		loop("vanished series are marked only if the page grew",
			"} else if !c.Unchanged || !l.page.Shows(l.live) {", "} else if c.Added > 0 {"),
		loop("series that a bad page showed are forgotten", "l.live = shown\n", "l.live = exposition.Shown{}\n"),
		loop("series of a page are released twice", "\t\tl.live.Release()\n",
			"\t\tl.live.Release()\n\t\tl.live.Release()\n"),
		loop("a target that is gone keeps its series", "\tl.live.Release()\n\tl.ages", "\tl.ages"),
		loop("series of a target that is gone are released before their markers are packed",
			"\t\tmarkAll(b, l.live)\n", "\t\tmarkAll(b, l.live)\n\t\tl.page.Forget()\n\t\tl.live.Release()\n"+
				"\t\tl.live = exposition.Shown{}\n"),
		loop("samples have the time of the end of their scrape", "\ttook := time.Since(start)\n",
			"\ttook := time.Since(start)\n\tb.Time = time.Now().UnixMilli()\n"),
		mutants.One("the last markers of a target have the time of its last scrape", "../scrape/stamps.go",
			"return max(onWallClock(missed, now).UnixMilli(), s.newest+1)", "return s.newest"),
		mutants.One("a page that was cut off is taken for a whole one", "../exposition/reading.go",
			"\t\tcase err != nil:\n\t\t\treturn r.cutOff(err)", "\t\tcase err != nil:\n\t\t\treturn r.finish()"),
		mutants.One("honor_labels is the other way round", "../scrape/learn.go",
			"addTargetLabels(s.builder, lset, l.labels, l.cfg.HonorLabels)",
			"addTargetLabels(s.builder, lset, l.labels, !l.cfg.HonorLabels)"),
		mutants.One("a label without a value is kept", "../scrape/learn.go",
			"if l.Value != \"\" { // an empty value means no label", "if l.Name != \"\" {"),
		mutants.One("new metric_relabel_configs leave lines alone that are known", "../scrape/job.go",
			"cfg.ServiceDiscoveryConfigs = nil\n",
			"cfg.ServiceDiscoveryConfigs, cfg.MetricRelabelConfigs = nil, nil\n"),
		mutants.One("a connection stays open after a page that was not read to its end",
			"../scrape/plainclient.go",
			"\t} else {\n\t\t_ = c.Close()\n\t}\n\tif x.pooled != nil {", "\t}\n\tif x.pooled != nil {"),
	}
}
