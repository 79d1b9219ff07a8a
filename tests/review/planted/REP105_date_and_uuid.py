import datetime
import time
import uuid

import torch

torch.manual_seed(datetime.date.today().toordinal())  # expect: REP105
torch.manual_seed(uuid.uuid1().int % 2**31)  # expect: REP105
torch.manual_seed(int(time.strftime("%j")))  # expect: REP105

model = torch.nn.Linear(4, 1)
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
for _ in range(3):
    model(torch.ones(4)).sum().backward()
    optimizer.step()
