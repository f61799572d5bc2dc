"""Two small studies that wait for a GPU, and their recipe."""

MINIATURE = """
data: {digits: {train: 1442, test: 355}}
studies:
  first:
    what: A miniature
    folder: tiny
    recipe: recipes/tiny.yaml
    set: {method: "[magnitude,snip]"}
    report: page
    data: digits
    rate: 1000
  second:
    what: More of it
    folder: tiny
    recipe: recipes/tiny.yaml
    set: {method: random}
    report: page
    data: digits
    rate: 1000
"""
RECIPE = """
version: 1
name: tiny
matrix:
  method: [magnitude, snip, random]
  seed: [0, 1]
  exclude: [{method: snip, seed: 1}, {method: random, seed: 1}]
steps:
  dense:
    train: {model: cnn, thin: 0.05, dataset: digits, epochs: 1, seed: "${seed}", eval-epochs: false}
  baseline: {eval: {checkpoint: "@dense"}}
  mask: {mask: {checkpoint: "@dense", method: "${method}", density: 0.1}}
  sparse: {finetune: {checkpoint: "@dense", mask: "@mask", epochs: 1, eval-epochs: false}}
  result: {eval: {checkpoint: "@sparse"}}
  page:
    over: []
    report: {results: ["@baseline[*]", "@result[*]"], format: html, title: Three methods}
"""
