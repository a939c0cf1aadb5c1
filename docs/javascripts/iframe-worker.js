/* Browsers start no workers from file://. There, the search runs in a hidden frame with the interface of a worker. */
if (location.protocol === 'file:') {
  window.Worker = class extends EventTarget {
    constructor(url) {
      super()
      const frame = document.createElement('iframe')
      frame.hidden = true
      document.body.append(frame)
      const inside = frame.contentWindow
      // What the script posts goes to the page; it may post to its own frame only through this.
      inside.postMessage = data => this.dispatchEvent(new MessageEvent('message', {data}))
      this.ready = new Promise((resolve, reject) => {
        const script = inside.document.createElement('script')
        script.src = url
        script.onload = resolve
        script.onerror = reject
        inside.document.body.append(script)
      })
      this.postMessage = data => this.ready.then(() => inside.dispatchEvent(new MessageEvent('message', {data})))
      this.terminate = () => frame.remove()
    }
  }
}
