"""A client that goes while its packet is under way leaves nothing behind (sanitizers see the rest)."""

import mqtt
from broker import pigeon_only
from test_scenarios import HeldCase


@pigeon_only
class Gone(HeldCase):
    def test_while_a_subscribe_of_many_filters_is_stored(self):
        c = self.durable()
        with self.held():
            c.send(mqtt.subscribe([(f'{self.topic()}/{i}', 0) for i in range(200)], 9))
            self.still_serving()
            c.abort()
            self.still_serving()
        self.still_serving()


del HeldCase
