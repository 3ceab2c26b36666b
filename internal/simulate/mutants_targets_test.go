package simulate

import "github.com/envoy-scraper/envoy-scraper/internal/mutants"

// targetMistakes are mistakes in which targets are scraped, and what becomes of them.
func targetMistakes() []mutants.Mutant {
	sync := func(name, old, changed string) mutants.Mutant {
		return mutants.One(name, "../scrape/sync.go", old, changed)
	}
	share := func(name, old, changed string) mutants.Mutant {
		return mutants.One(name, "../scrape/share.go", old, changed)
	}
	return []mutants.Mutant{
		sync("a target is scraped twice after a reload",
			"\t\t\tif l != nil { // it stays in loops until its successor starts\n"+
				"\t\t\t\tps.retire(p, l, eventOutdate)\n\t\t\t}\n", ""),
		sync("a reload forgets what it knew of its targets", "p.wanted.targets[t.hash].found(), before[i])",
			"p.wanted.targets[t.hash].found(), nil)\n\t\t_ = before"),
		sync("a target that is gone never leaves the list",
			"\t\t\tif l != nil {\n\t\t\t\tdelete(p.loops, hash)",
			"\t\t\tif l != nil && wanted {\n\t\t\t\tdelete(p.loops, hash)"),
		share("a shard keeps targets of another one", "!ps.shards.Mine(key, ps.phase.Count)",
			"!ps.shards.Mine(key, ps.phase.Count) && key%8 != 0"),
		share("some targets belong to no shard", "!ps.shards.Mine(key, ps.phase.Count)",
			"(!ps.shards.Mine(key, ps.phase.Count) || key%8 == 0)"),
	}
}
