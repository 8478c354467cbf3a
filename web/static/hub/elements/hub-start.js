/** The form that starts a job is sent once, however often its button is pressed. */
class HubStart extends HTMLElement {
  #sent = false;

  connectedCallback() {
    this.addEventListener("submit", this.#send);
    addEventListener("pageshow", this.#back);
  }

  disconnectedCallback() {
    this.removeEventListener("submit", this.#send);
    removeEventListener("pageshow", this.#back);
  }

  #send = (event) => {
    if (this.#sent) event.preventDefault();
    else this.#show(true);
  };

  #back = ({ persisted }) => {
    if (persisted) this.#show(false);
  };

  #show(isSent) {
    this.#sent = isSent;
    this.querySelector('[type="submit"]').setAttribute("aria-disabled", String(isSent));
    this.querySelector('[data-slot="sending"]').hidden = !isSent;
  }
}

customElements.define("hub-start", HubStart);
