//go:build !unix

package filesystem

// noFollow is 0 where open has no such flag. Symbolic links need special rights on those systems.
const noFollow = 0
