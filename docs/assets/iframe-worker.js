// Browsers start no worker from a file. For pages read from a disk, the search runs in a frame.
if (location.protocol === "file:") {
  window.Worker = class extends EventTarget {
    constructor(url) {
      super()
      this.frame = document.createElement("iframe")
      this.frame.hidden = true
      document.body.append(this.frame)
      const inner = this.frame.contentWindow
      inner.postMessage = data => this.dispatchEvent(new MessageEvent("message", { data }))
      inner.importScripts = (...urls) => Promise.all(urls.map(source => load(inner, source)))
      this.ready = load(inner, url)
    }

    postMessage(data) {
      const inner = this.frame.contentWindow
      this.ready.then(() => inner.dispatchEvent(new inner.MessageEvent("message", { data })))
    }
  }

  function load(inner, source) {
    return new Promise((resolve, reject) => {
      const script = inner.document.createElement("script")
      Object.assign(script, { src: source, onload: resolve, onerror: reject })
      inner.document.body.append(script)
    })
  }
}
