// Package peers pins the agents that bench compares with, in a module of its
// own, so that what they need reaches neither the product's go.mod nor the
// bench's. build.sh builds them; nothing here is ever imported.
package peers
